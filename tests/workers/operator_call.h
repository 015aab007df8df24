// SPDX-License-Identifier: Apache-2.0
//
// A call of an operation for a thread that waits for it: the codec's two halves around a pool.
#pragma once

#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/worker_pool.h>

#include <ATen/core/ivalue.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace streamgate::testing {

class OperatorCall final : public executor::WorkerCall {
 public:
  /// The request as request_values makes it.
  explicit OperatorCall(std::vector<c10::IValue> request) : request_(std::move(request)) {}

  executor::BlockReference encode(executor::Channel& to_worker) override {
    encoded_ = std::make_unique<executor::EncodedValues>(
        executor::encode(request_, to_worker, std::chrono::steady_clock::time_point::min())
            .value());
    copied_bytes = encoded_->copied_bytes();
    return encoded_->frame();
  }
  void sent() noexcept override { encoded_->sent(); }
  void not_sent(executor::Channel&) noexcept override { encoded_.reset(); }
  void complete(executor::CallEnd end) noexcept override {
    how = end.result;
    text = end.text;
    first_runs = end.first_runs;
    try {
      if (how == executor::CallResult::kDone) {
        result_ = decode(std::move(end.response), *end.channel);
      }
    } catch (const std::exception& error) {
      text = error.what();
    }
    ended_.store(1);
    ended_.notify_one();
  }
  /// The result; throws what the call failed with.
  [[nodiscard]] c10::IValue wait() {
    ended_.wait(0);
    if (result_.empty()) throw std::runtime_error(text);
    return std::move(result_[0]);
  }

  executor::CallResult how = executor::CallResult::kDone;
  std::string text;
  std::size_t copied_bytes = 0;
  bool first_runs = false;

 private:
  std::vector<c10::IValue> request_;
  std::unique_ptr<executor::EncodedValues> encoded_;
  std::vector<c10::IValue> result_;
  std::atomic<int> ended_{0};
};

}  // namespace streamgate::testing

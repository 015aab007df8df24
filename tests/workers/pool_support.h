// SPDX-License-Identifier: Apache-2.0
//
// Pools of test workers, calls for them, and what this process and its children hold.
#pragma once

#include <streamgate/executor/workers/worker_pool.h>

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/event.h"
#include "../support/held.h"
#include "test_runner.h"

namespace streamgate::testing {

using namespace std::chrono_literals;
using executor::CallResult;

/// A pool's options for tests: a small channel, short graces, the test worker.
inline executor::WorkerPoolOptions pool_options(std::size_t workers) {
  executor::WorkerPoolOptions options;
  options.supervisor.program = STREAMGATE_WORKERS_PEER;
  options.supervisor.channel = {.host_arena_bytes = 1 << 20, .worker_arena_bytes = 1 << 20};
  options.supervisor.identity = "test 1";
  options.supervisor.term_grace = 100ms;
  options.supervisor.restart = {.first_delay = 1ms, .longest_delay = 10ms, .breaker_deaths = 0};
  options.min_workers = workers;
  options.max_workers = workers;
  options.cancel_grace = 50ms;
  return options;
}

/// A call with bytes in it. Keeps how it ended; a second end is an error that `ends` shows.
class TestCall final : public executor::WorkerCall {
 public:
  explicit TestCall(std::string request) : request_(std::move(request)) {}

  executor::BlockReference encode(executor::Channel& to_worker) override {
    ++encoded;
    if (on_encode) on_encode();
    const std::optional<executor::Block> block =
        to_worker.allocate(request_.size(), std::chrono::steady_clock::now() + kGuard);
    if (!block) {
      if (to_worker.end() != executor::ChannelEnd::kOpen) {
        throw executor::ChannelError(to_worker.end(), "ended");
      }
      throw std::runtime_error("no room for the request");
    }
    if (!*block) return lent_ = {};
    std::memcpy(block->data(), request_.data(), request_.size());
    return lent_ = to_worker.lend(*block).value();
  }
  void sent() noexcept override { lent_ = {}; }
  void not_sent(executor::Channel& to_worker) noexcept override {
    if (lent_.bytes > 0) to_worker.take_back(lent_);
  }

  void complete(executor::CallEnd end) noexcept override {
    ++ends;
    if (end.response) {
      answer.assign(reinterpret_cast<const char*>(end.response.data()), end.response.bytes());
    }
    end.response = {};
    how = std::move(end);
    ended_.set();
  }

  /// How it ended; a call that does not end fails the test.
  [[nodiscard]] CallResult wait() {
    if (!ended_.wait()) throw std::runtime_error("the call did not end");
    return how.result;
  }
  [[nodiscard]] bool has_ended() const { return ended_.happened(); }

  std::string answer;
  executor::CallEnd how;
  std::atomic<int> ends{0};
  std::atomic<int> encoded{0};
  std::function<void()> on_encode;

 private:
  std::string request_;
  executor::BlockReference lent_{};
  Event ended_;
};

/// Submits one call and waits for its end.
inline std::unique_ptr<TestCall> call(executor::WorkerPool& pool, const std::string& request,
                                      const executor::WorkerCallOptions& options = {}) {
  auto made = std::make_unique<TestCall>(request);
  pool.submit(*made, options);
  static_cast<void>(made->wait());
  return made;
}

inline std::size_t count(const executor::WorkersSnapshot& snapshot, executor::WorkerExit exit) {
  return snapshot.exits[static_cast<std::size_t>(exit)];
}
inline std::size_t count(const executor::WorkersSnapshot& snapshot, executor::WorkerState state) {
  return snapshot.states[static_cast<std::size_t>(state)];
}
[[nodiscard]] inline bool wait_for_ready(executor::WorkerPool& pool, std::size_t workers) {
  return eventually([&] { return pool.load().ready == workers; });
}

/// A file of its own for each test, gone with its object.
class NoteFile {
 public:
  explicit NoteFile(const std::string& name)
      : path_(std::filesystem::temp_directory_path() /
              ("streamgate-" + name + "-" + std::to_string(getpid()))) {
    std::filesystem::remove(path_);
  }
  ~NoteFile() { std::filesystem::remove(path_); }
  [[nodiscard]] std::string path() const { return path_.string(); }
  [[nodiscard]] std::size_t lines() const {
    std::ifstream file(path_);
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);) ++count;
    return count;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace streamgate::testing

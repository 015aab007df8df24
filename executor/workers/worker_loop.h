// SPDX-License-Identifier: Apache-2.0
//
// The inside of a worker process: the handshake, then one call after another, until the host ends.
// It has no libtorch in it: what a call does is its runner's business.
#pragma once

#include <streamgate/executor/workers/channel.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace streamgate::executor {

/// What a worker process is started with.
struct WorkerLinks {
  int channel = -1;       ///< Shared memory of the host.
  int life = -1;          ///< The reading end of a pipe that ends with the host.
  std::int64_t host = 0;  ///< The host's process id.
  std::size_t intra_op_threads = 1;
};

/// Thrown by a runner that leaves a call because it is cancelled.
class CallCancelled : public std::runtime_error {
 public:
  CallCancelled() : std::runtime_error("the call was cancelled") {}
};

/// A call as its runner sees it.
class RunningCall {
 public:
  RunningCall(Channel& to_host, Block bytes, std::uint64_t number) noexcept
      : channel(to_host), request(std::move(bytes)), number_(number) {}

  Channel& channel;
  Block request;  ///< The host's; ending it gives it back.
  /// Set by the runner: one of the first runs of its kind here, in which libraries load and compile
  /// what they need, so that its time says nothing of the next ones.
  bool first_runs = false;

  /// Whether the host has asked to leave this call. May be asked on any thread.
  [[nodiscard]] bool is_cancelled() const noexcept { return channel.cancelled() == number_; }
  void throw_if_cancelled() const {
    if (is_cancelled()) throw CallCancelled();
  }

 private:
  std::uint64_t number_;
};

/// What a worker does with calls.
///
/// Thread-safety: confined to the worker's main thread. Ownership: of what it loaded. Blocking: as
/// long as loading and running take; the host has deadlines. Failure: prepare and run throw; what
/// prepare says makes the worker unfit, what run says is the answer to that call.
///
///     class Echo : public CallRunner {
///       std::string identity() override { return "echo 1"; }
///       void prepare(std::string_view, std::size_t) override {}
///       BlockReference run(RunningCall& call) override { return copy_and_lend(call); }
///     };
class CallRunner {
 public:
  virtual ~CallRunner() = default;
  /// Which libraries this process runs on; the host has it compared with its own.
  [[nodiscard]] virtual std::string identity() = 0;
  /// Once, before the first call.
  virtual void prepare(std::string_view configuration, std::size_t intra_op_threads) = 0;
  /// The response, lent to the host.
  [[nodiscard]] virtual BlockReference run(RunningCall& call) = 0;
};

/// Serves the host that started this process; returns the exit code. To be called early in main,
/// on its thread. From here on the process ends with the host, however that ends.
[[nodiscard]] int serve_host(const WorkerLinks& links, CallRunner& runner) noexcept;

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The part of a call's node that another process can run: how it is written for a worker and read
// back is its subclass's business, who decides is WorkerOverflow's.
#pragma once

#include <streamgate/executor/call.h>
#include <streamgate/executor/outcome.h>
#include <streamgate/executor/task.h>
#include <streamgate/executor/workers/worker_pool.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace streamgate::executor {

class WorkerOverflow;
class WorkerDoor;

/// Thread-safety: belongs to whoever has the node, see TaskNode::phase; the pool while it is away.
/// Ownership: part of its node.
class PortableCall : public WorkerCall {
 public:
  struct Traits {
    std::uint64_t operation = 0;  ///< The same for calls that should take equally long; not 0.
    Place place = Place::kAnywhere;
    bool repeatable = false;
    std::uint64_t prefer_worker = 0;
  };

  PortableCall(TaskNode& its_node, const Traits& its_traits) : node(its_node), traits(its_traits) {}

  /// Keeps the value or the error of an end that has one, and says the outcome.
  [[nodiscard]] virtual Outcome take(CallEnd& end) noexcept = 0;
  /// For Result::evidence.
  virtual void keep_evidence(Outcome outcome, const std::string& evidence) noexcept = 0;
  /// The same for calls with the same operation and arguments.
  [[nodiscard]] virtual std::uint64_t fingerprint() const noexcept = 0;
  [[nodiscard]] virtual std::string_view operation_name() const noexcept = 0;
  /// Writes the request; sets `does_not_fit` and throws where no worker can have it.
  [[nodiscard]] virtual BlockReference write(Channel& to_worker) = 0;
  /// One more share in the node, and one less. On a caller's stack there is nothing to share.
  virtual void hold() noexcept = 0;
  virtual void let_go() noexcept = 0;

  [[nodiscard]] BlockReference encode(Channel& to_worker) final {
    started = Clock::now();
    return write(to_worker);
  }
  void complete(CallEnd end) noexcept final;

  TaskNode& node;
  const Traits traits;
  bool does_not_fit = false;
  Clock::time_point started{};  ///< With the worker that had it last.
  std::size_t attempts = 1;
  WorkerOverflow* overflow = nullptr;

  // For whoever cancels: valid once `number` is not 0.
  std::shared_ptr<WorkerDoor> door;  // Shared with the overflow, which ends before late cancels.
  std::atomic<std::uint64_t> number{0};
};

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// What a task node does by itself: hear of its stop_token and of its stream.
#include <streamgate/executor/task.h>

#include <streamgate/executor/internal/core.h>

namespace streamgate::executor {

void TaskNode::CancelOnStop::operator()() const noexcept {
  if (node->door == Door::kSubmit && node->claim_by_stop()) return;
  // When the node cannot be claimed yet, the word that this leaves is read once it can.
  static_cast<void>(Core::cancel(*node));
}

bool TaskNode::claim_by_stop() noexcept {
  // Published by the claim. The node lives until the exchange below, since whoever ends it waits
  // for this callback first, unless it found kRunning.
  stop_call_.store(StopCall::kRunning, std::memory_order_relaxed);
  const bool claimed = claim(Phase::kInbox);
  if (claimed) Waiter::tell(observe_and_publish(Outcome::kCancelled));
  if (stop_call_.exchange(StopCall::kIdle, std::memory_order_acq_rel) == StopCall::kLetGo) {
    release_by_executor();
    return true;
  }
  return claimed;
}

void TaskNode::let_go() noexcept {
  if (stop_call_.exchange(StopCall::kLetGo, std::memory_order_acq_rel) == StopCall::kRunning)
    return;
  // Brief: a callback that comes now finds nothing to claim.
  unwatch();
  release_by_executor();
}

void TaskNode::tell_observer(Outcome result) noexcept {
  const bool settled = completed != Clock::time_point{};
  observer->on_task_end({.trace = trace,
                         .name = name,
                         .classes = classes,
                         .priority = priority,
                         .outcome = result,
                         .in_worker = in_worker,
                         .stream = stream,
                         .submitted = submitted,
                         .admitted = admitted,
                         // A task may expire in the hands of who was to run it.
                         .started = result == Outcome::kExpired ? Clock::time_point{} : started,
                         .encoded = encoded,
                         .completed = settled ? completed : Clock::now()});
}

void TaskNode::watch(const std::stop_token& stop) {
  if (stop.stop_possible()) stop_callback_.emplace(stop, CancelOnStop{this});
}

void TaskNode::on_stream_done() noexcept { core.stream_done(*this); }

}  // namespace streamgate::executor

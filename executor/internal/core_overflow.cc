// SPDX-License-Identifier: Apache-2.0
//
// The way of a task that does not run here: from the door to Overflow and back, or back into the
// queue. The way here is core.cc.
#include <streamgate/executor/internal/core.h>

#include <streamgate/executor/future.h>

#include <algorithm>
#include <cstdint>

namespace streamgate::executor {

using policies::kAllOpClasses;
using policies::OpClass;
using policies::OpClassSet;

Way Core::way_of(TaskNode& node, bool inside) noexcept {
  if (node.portable() == nullptr) return Way::kHere;
  HereNow here{.room = inside || (may_overtake(node.classes.lane(), false) &&
                                  gate_.would_refuse(node.classes) == Gate::Refusal::kNone),
               .waiting = queue_.tasks(),
               .width = SIZE_MAX};
  for (const OpClass op_class : kAllOpClasses) {
    if (node.classes.contains(op_class)) {
      here.width = std::min(here.width, std::max<std::size_t>(1, gate_.limit(op_class)));
    }
  }
  return overflow_->judge(node, here);
}

std::optional<Outcome> Core::send_away(TaskNode& node, const std::stop_token& stop) noexcept {
  // Sequentially consistent, as is closing the gate before a drain looks for calls that are away.
  away_.fetch_add(1, std::memory_order_seq_cst);
  if (gate_.closed()) {
    away_.fetch_sub(1, std::memory_order_seq_cst);
    note_progress();
    return Outcome::kShutdown;
  }
  node.phase.store(TaskNode::Phase::kClaimed, std::memory_order_seq_cst);
  // A stop that comes from now on finds nothing to claim and leaves its word for the overflow.
  node.watch(stop);
  overflow_->send(node);
  return std::nullopt;
}

void Core::came_back(TaskNode& node, Outcome outcome) noexcept {
  const Visitors::Visit visit(visitors_);
  recorder_.ended_waiting(node.classes.lane(), outcome);
  node.unwatch();
  node.outcome = outcome;
  node.in_worker = true;
  node.phase.store(TaskNode::Phase::kEnded, std::memory_order_release);
  const bool submitted = node.door == TaskNode::Door::kSubmit;
  Waiter* const waiter = node.observe_and_publish(outcome);
  if (waiter != nullptr && !waiter->brief()) {
    // Code of the user's, which may wait for a call that this very thread is to hear of.
    node.to_tell = waiter;
    {
      const std::lock_guard lock(untold_mutex_);
      untold_.push(node);
      untold_count_.fetch_add(1, std::memory_order_release);
    }
    static_cast<void>(arena_->call());
    return;
  }
  if (submitted) node.release_by_executor();
  away_.fetch_sub(1, std::memory_order_seq_cst);
  Waiter::tell(waiter);
  note_progress();
}

TaskNode* Core::take_untold() noexcept {
  // Acquire: pairs with the release of who put one there and then called the arena.
  if (untold_count_.load(std::memory_order_acquire) == 0) return nullptr;
  const std::lock_guard lock(untold_mutex_);
  if (untold_.empty()) return nullptr;
  untold_count_.fetch_sub(1, std::memory_order_relaxed);
  return &untold_.pop();
}

void Core::tell(TaskNode& untold) noexcept {
  // The waiter has a share of its own in the state.
  Waiter* const waiter = untold.to_tell;
  untold.release_by_executor();
  Waiter::tell(waiter);
  away_.fetch_sub(1, std::memory_order_seq_cst);
  note_progress();
}

void Core::not_taken(TaskNode& node) noexcept {
  const Visitors::Visit visit(visitors_);
  const OpClassSet classes = node.classes;
  const Clock::time_point deadline = node.deadline;
  const bool submitted = node.door == TaskNode::Door::kSubmit;
  std::optional<Outcome> refused;
  node.phase.store(TaskNode::Phase::kInbox, std::memory_order_seq_cst);
  // Who cancelled it before that found nothing to claim, and left its word first.
  bool claimed =
      node.cancel_requested.load(std::memory_order_seq_cst) && node.claim(TaskNode::Phase::kInbox);
  if (claimed) {
    refused = Outcome::kCancelled;
  } else {
    refused = enqueue(node, {});
    claimed = refused == Outcome::kShutdown;
  }
  if (refused && (claimed || node.claim(TaskNode::Phase::kInbox))) {
    end_without_run(node, *refused);
  } else if (refused) {
    // Its future is known to others, of whom one has just cancelled and ended it.
    recorder_.ended_waiting(classes.lane(), Outcome::kCancelled);
    node.let_go();
  } else if (deadline != Clock::time_point::max()) {
    timer_->arm(deadline);
  }
  away_.fetch_sub(1, std::memory_order_seq_cst);
  if (!submitted) {
    dispatch();
  } else if (gate_.would_refuse(classes) == Gate::Refusal::kNone) {
    arena_->call();
  }
  note_progress();
}

}  // namespace streamgate::executor

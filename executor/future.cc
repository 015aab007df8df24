// SPDX-License-Identifier: Apache-2.0
//
// Completion and waiting.
#include <streamgate/executor/future.h>

#include <streamgate/executor/internal/core.h>
#include <streamgate/executor/parker.h>

namespace streamgate::executor {
namespace {

/// A thread that waits for a state, on its own stack.
class ThreadWaiter final : public Waiter {
 public:
  Waiter* fire() noexcept override {
    parker_.wake();
    return nullptr;
  }
  [[nodiscard]] bool brief() const noexcept override { return true; }
  [[nodiscard]] bool wait_until(Clock::time_point deadline) noexcept {
    return parker_.park_until(deadline);
  }

 private:
  Parker parker_;
};

/// Stands for "complete" in SharedState::waiter_; never fired.
class DoneMark final : public Waiter {
 public:
  Waiter* fire() noexcept override { return nullptr; }
};
DoneMark done_mark;

bool block(SharedState& state, Clock::time_point deadline) {
  ThreadWaiter waiter;
  if (!state.set_waiter(waiter)) return true;
  if (waiter.wait_until(deadline)) return true;
  if (state.clear_waiter(waiter)) return false;
  // It is being fired at this moment, and the waiter must live until it has been.
  return waiter.wait_until(Clock::time_point::max());
}

}  // namespace

Waiter* SharedState::done() noexcept { return &done_mark; }

Waiter* SharedState::complete_untold(Outcome outcome) noexcept {
  outcome_ = outcome;
  // Release: publishes value, error and outcome. Acquire: pairs with set_waiter's release, so that
  // the waiter is whole.
  return waiter_.exchange(done(), std::memory_order_acq_rel);
}

bool SharedState::set_waiter(Waiter& waiter) noexcept {
  Waiter* nobody = nullptr;
  return waiter_.compare_exchange_strong(nobody, &waiter, std::memory_order_acq_rel,
                                         std::memory_order_acquire);
}

bool SharedState::clear_waiter(Waiter& waiter) noexcept {
  Waiter* expected = &waiter;
  return waiter_.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel,
                                         std::memory_order_acquire);
}

bool SharedState::wait_until(Clock::time_point deadline) {
  if (ready()) return true;
  TaskNode* const current = Core::current_task();
  if (current == nullptr) return block(*this, deadline);

  if (node_ == nullptr) {
    throw NestedWaitError(
        "a task waits for a future made by then(), which may depend on tasks that queue behind it; "
        "use then() or co_await, or wait outside of tasks");
  }
  if (&node_->core != &current->core) return block(*this, deadline);
  // Looked at again now and then: a worker that had taken the task may put it back to run a
  // continuation first, and then it may queue behind tasks that wait for this one to end.
  constexpr std::chrono::milliseconds kLookAgain{1};
  for (;;) {
    if (Core::help_or_prepare_wait(*current, *node_)) return true;
    const Clock::time_point now = Clock::now();
    const bool last = deadline <= now + kLookAgain;
    const bool is_ready = block(*this, last ? deadline : now + kLookAgain);
    Core::end_nested_wait(*current);
    if (is_ready || last) return is_ready;
  }
}

CancelResult cancel_task(TaskNode& node) noexcept { return Core::cancel(node); }

}  // namespace streamgate::executor

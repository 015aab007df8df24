// SPDX-License-Identifier: Apache-2.0
//
// The timer's loop.
#include <streamgate/executor/internal/deadline_timer.h>

#include <streamgate/executor/internal/thread_name.h>

#include <utility>

namespace streamgate::executor {

DeadlineTimer::DeadlineTimer(std::function<Clock::time_point(Clock::time_point)> on_deadline)
    : on_deadline_(std::move(on_deadline)),
      thread_([this](const std::stop_token& stop) { loop(stop); }) {}

DeadlineTimer::~DeadlineTimer() = default;

void DeadlineTimer::arm(Clock::time_point deadline) noexcept {
  // Sequentially consistent: the task is in the queue before this load. If the load still sees an
  // earlier deadline, the callback for that one looks at the queue after it has disarmed, and so
  // sees the task.
  if (deadline >= armed_.load(std::memory_order_seq_cst)) return;
  {
    const std::lock_guard lock(mutex_);
    if (deadline >= armed_.load(std::memory_order_relaxed)) return;
    armed_.store(deadline, std::memory_order_seq_cst);
  }
  changed_.notify_one();
}

void DeadlineTimer::loop(const std::stop_token& stop) {
  set_thread_name("sg-deadlines");
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const Clock::time_point armed = armed_.load(std::memory_order_relaxed);
    const auto changed = [&] { return armed_.load(std::memory_order_relaxed) != armed; };
    if (armed == Clock::time_point::max()) {
      changed_.wait(lock, stop, changed);
      continue;
    }
    if (changed_.wait_until(lock, stop, armed, changed)) continue;
    if (stop.stop_requested()) return;
    armed_.store(Clock::time_point::max(), std::memory_order_seq_cst);
    lock.unlock();
    const Clock::time_point next = on_deadline_(Clock::now());
    lock.lock();
    if (next < armed_.load(std::memory_order_relaxed)) {
      armed_.store(next, std::memory_order_seq_cst);
    }
  }
}

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// One thread that wakes at the earliest deadline of the queue. It says that time has come; what has
// expired, and what follows, is the executor's business.
#pragma once

#include <streamgate/executor/task.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace streamgate::executor {

/// Calls back when an armed deadline has come.
///
/// Thread-safety: arm is thread-safe; for a deadline no earlier than the armed one it is one load.
/// Blocking: the destructor waits for a running callback.
class DeadlineTimer {
 public:
  /// `on_deadline` is called on the timer's thread with the current time, and returns the next
  /// deadline, or time_point::max().
  explicit DeadlineTimer(std::function<Clock::time_point(Clock::time_point)> on_deadline);
  ~DeadlineTimer();
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

  /// Makes sure that the callback comes no later than `deadline`.
  void arm(Clock::time_point deadline) noexcept;

 private:
  void loop(const std::stop_token& stop);

  std::function<Clock::time_point(Clock::time_point)> on_deadline_;
  std::atomic<Clock::time_point> armed_{Clock::time_point::max()};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace streamgate::executor

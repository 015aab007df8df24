// SPDX-License-Identifier: Apache-2.0
//
// What tests wait on instead of sleeping: things that happen, each with a guard, so that what never
// happens is a failure and not a hang.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>

namespace streamgate::testing {

/// How long a test waits for what must happen. Generous: it is only ever used up by a failure.
inline constexpr std::chrono::seconds kGuard{60};

/// Happens once.
class Event {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    happened_ = true;
    changed_.notify_all();
  }
  /// False when the guard came first.
  [[nodiscard]] bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kGuard, [this] { return happened_; });
  }
  [[nodiscard]] bool happened() const {
    const std::lock_guard lock(mutex_);
    return happened_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;
};

/// Happens when so many have arrived.
class Countdown {
 public:
  explicit Countdown(std::size_t count) : left_(count) {}
  void arrive() {
    const std::lock_guard lock(mutex_);
    if (left_ > 0) --left_;
    if (left_ == 0) changed_.notify_all();
  }
  /// False when the guard came first.
  [[nodiscard]] bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kGuard, [this] { return left_ == 0; });
  }
  [[nodiscard]] bool arrive_and_wait() {
    arrive();
    return wait();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t left_;
};

/// For what has no event of its own, such as a number in a snapshot: looks until it is so. False
/// when the guard came first.
template <typename Condition>
[[nodiscard]] bool eventually(Condition condition) {
  const auto guard = std::chrono::steady_clock::now() + kGuard;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= guard) return false;
    std::this_thread::yield();
  }
  return true;
}

/// Keeps the largest value that it was given, and adds up and down: an account of who is inside,
/// kept beside the executor's own.
class Census {
 public:
  /// Returns how many are inside now.
  std::size_t enter() noexcept {
    const std::size_t now = inside_.fetch_add(1) + 1;
    std::size_t peak = peak_.load();
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
    return now;
  }
  void leave() noexcept { inside_.fetch_sub(1); }
  [[nodiscard]] std::size_t inside() const noexcept { return inside_.load(); }
  [[nodiscard]] std::size_t peak() const noexcept { return peak_.load(); }

 private:
  std::atomic<std::size_t> inside_{0};
  std::atomic<std::size_t> peak_{0};
};

}  // namespace streamgate::testing

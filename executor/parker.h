// SPDX-License-Identifier: Apache-2.0
//
// One thread sleeping until another wakes it: what a condition variable does for many, here for one
// and without a second trip through its mutex.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace streamgate::executor {

/// A place for one thread to sleep in.
///
/// Thread-safety: one thread parks; one other wakes it, once for each time that it parks.
/// Ownership: lives with the thread that parks; it may end as soon as park has returned true, even
/// while wake is still on its way out. Blocking: park spins about a microsecond and then sleeps in
/// the kernel.
///
///     Parker parker;
///     hand_over(parker);                       // the other thread calls parker.wake()
///     if (!parker.park_until(deadline)) ...    // nobody did
class Parker {
 public:
  Parker() = default;
  Parker(const Parker&) = delete;
  Parker& operator=(const Parker&) = delete;

  /// Wakes the thread, or spares it the sleep. What happened before is visible after park.
  void wake() noexcept;

  /// Returns true once woken, and is then ready to be used again; false when the deadline came
  /// first. time_point::max() is no deadline.
  [[nodiscard]] bool park_until(std::chrono::steady_clock::time_point deadline) noexcept;

 private:
  enum : std::uint32_t { kAwake, kAsleep, kWoken };
  std::atomic<std::uint32_t> state_{kAwake};
};

}  // namespace streamgate::executor

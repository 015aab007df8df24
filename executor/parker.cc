// SPDX-License-Identifier: Apache-2.0
//
// Sleeping on a word: futex on Linux; elsewhere a condition variable out of a fixed set, by
// address.
#include <streamgate/executor/parker.h>

#include <streamgate/executor/internal/pause.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace streamgate::executor {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

/// A round of pauses takes about a microsecond, less than going to sleep does.
constexpr int kSpins = 50;

#if defined(__linux__)

// steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++, and a bitset wait takes it as absolute.
void sleep_on(std::atomic<std::uint32_t>& word, std::uint32_t expected,
              TimePoint deadline) noexcept {
  timespec time{};
  timespec* limit = nullptr;
  if (deadline != TimePoint::max()) {
    const auto since = deadline.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    time.tv_sec = seconds.count();
    time.tv_nsec = std::chrono::nanoseconds(since - seconds).count();
    limit = &time;
  }
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected, limit, nullptr,
          FUTEX_BITSET_MATCH_ANY);
}

void wake_on(std::atomic<std::uint32_t>& word) noexcept {
  // The word may be gone by now. The kernel compares addresses only: at worst somebody who sleeps
  // on the same address wakes once for nothing, and every sleeper checks its word.
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

#else

struct Bed {
  std::mutex mutex;
  std::condition_variable woken;
};

Bed& bed_of(const void* address) {
  static auto* const beds = new Bed[64];
  return beds[(reinterpret_cast<std::uintptr_t>(address) >> 4) % 64];
}

void sleep_on(std::atomic<std::uint32_t>& word, std::uint32_t expected,
              TimePoint deadline) noexcept {
  Bed& bed = bed_of(&word);
  std::unique_lock lock(bed.mutex);
  if (word.load(std::memory_order_acquire) != expected) return;
  if (deadline == TimePoint::max()) {
    bed.woken.wait(lock);
  } else {
    bed.woken.wait_until(lock, deadline);
  }
}

void wake_on(std::atomic<std::uint32_t>& word) noexcept {
  Bed& bed = bed_of(&word);
  const std::lock_guard lock(bed.mutex);
  bed.woken.notify_all();
}

#endif

}  // namespace

void Parker::wake() noexcept {
  // Release: pairs with the acquires in park_until. After this the parker may be gone.
  if (state_.exchange(kWoken, std::memory_order_acq_rel) == kAsleep) wake_on(state_);
}

bool Parker::park_until(TimePoint deadline) noexcept {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (state_.load(std::memory_order_acquire) == kWoken) break;
    pause();
  }
  std::uint32_t state = kAwake;
  if (state_.compare_exchange_strong(state, kAsleep, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
    do {
      sleep_on(state_, kAsleep, deadline);
      state = state_.load(std::memory_order_acquire);
    } while (state == kAsleep &&
             (deadline == TimePoint::max() || std::chrono::steady_clock::now() < deadline));
    // At the deadline: whoever wakes at this very moment is heard.
    if (state == kAsleep &&
        state_.compare_exchange_strong(state, kAwake, std::memory_order_acq_rel)) {
      return false;
    }
  }
  state_.store(kAwake, std::memory_order_relaxed);
  return true;
}

}  // namespace streamgate::executor

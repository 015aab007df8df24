// SPDX-License-Identifier: Apache-2.0
//
// When a worker may be started again: at once after a single death, later and later while they go
// on dying, and for a while not at all when too many die too fast. Pure: time is given to it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>

namespace streamgate::executor {

struct RestartOptions {
  std::chrono::milliseconds first_delay{100};  ///< After the second death in a row; then doubled.
  std::chrono::milliseconds longest_delay{10'000};
  double jitter = 0.5;  ///< A delay is multiplied by 1 ± up to this, so that hosts do not march.
  std::size_t breaker_deaths = 10;  ///< So many within the window open the breaker; 0: none do.
  std::chrono::milliseconds breaker_window{30'000};
  std::size_t breaker_failed_starts = 3;  ///< So many in a row open it, however long they took.
  std::chrono::milliseconds breaker_pause{30'000};
  std::uint64_t seed = 1;
};

/// Thread-safety: externally synchronised. Ownership: of numbers. Blocking: never. Failure: none.
///
///     policy.died(now);
///     if (policy.may_start(now)) start(); else wait_until(policy.next_start());
///     policy.served(now);   // a worker has answered: what was wrong is over
class RestartPolicy {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  explicit RestartPolicy(const RestartOptions& options)
      : options_(options), random_(options.seed) {}

  /// A worker ended that should not have.
  void died(TimePoint now);
  /// A worker could not be started, or ended before it was ready.
  void failed_to_start(TimePoint now);
  void became_ready() noexcept { failed_starts_ = 0; }
  /// A worker has answered a call. Ends the series of deaths, and closes the breaker once its
  /// pause is over.
  void served(TimePoint now) noexcept;

  [[nodiscard]] bool may_start(TimePoint now) const noexcept { return now >= next_start_; }
  [[nodiscard]] TimePoint next_start() const noexcept { return next_start_; }
  /// Whether too many died too fast. After its pause workers are started one at a time.
  [[nodiscard]] bool is_open() const noexcept { return open_; }

 private:
  [[nodiscard]] std::chrono::nanoseconds jittered(std::chrono::nanoseconds delay);

  RestartOptions options_;
  std::mt19937_64 random_;
  std::deque<TimePoint> deaths_;  ///< Within the window.
  std::size_t in_a_row_ = 0;
  std::size_t failed_starts_ = 0;
  bool open_ = false;
  TimePoint next_start_ = TimePoint::min();
};

}  // namespace streamgate::executor

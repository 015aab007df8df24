// SPDX-License-Identifier: Apache-2.0
//
// The search of `knee`: it tries limits above and below the present one and keeps the smallest with
// the best throughput. The brakes, and what reaches it from the executor, are knee_limit.cc's.
#pragma once

#include <streamgate/policies/internal/completion_window.h>
#include <streamgate/policies/internal/decision_log.h>
#include <streamgate/policies/internal/level_statistics.h>
#include <streamgate/policies/limit_policy.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace streamgate::policies::internal {

/// A pattern search on the logarithm of the limit. From the base, a limit `factor_` times as large
/// is tried, then one as much smaller. Success moves the base, and the next trial goes the same way
/// with a larger factor; failure both ways makes the factor smaller. When the smallest factor has
/// failed both ways the base is the knee: the search rests, and tries again from time to time, as
/// far apart as the trials are costly.
///
/// Externally synchronised. Owns its evidence. Never blocks; allocates only in the log's recent().
/// Nothing fails.
///
///     KneeSearch search(1, 64);
///     search.window().take(...);
///     search.end_window();
///     gate.set_limit(op_class, search.limit());
class KneeSearch {
 public:
  // REQUIRES: 1 <= initial <= ceiling.
  KneeSearch(std::size_t initial, std::size_t ceiling) noexcept
      : ceiling_(ceiling), limit_(initial), base_(initial) {
    start_window();
  }

  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::size_t base() const noexcept { return base_; }
  [[nodiscard]] std::uint64_t windows() const noexcept { return windows_; }
  [[nodiscard]] CompletionWindow& window() noexcept { return window_; }
  [[nodiscard]] const DecisionLog& log() const noexcept { return log_; }
  [[nodiscard]] std::optional<KneeEstimate> knee() const noexcept { return knee_; }

  void count_window() noexcept { ++windows_; }
  /// The window's last block but three, two or one is complete.
  void end_block() noexcept;
  /// All of them are, and there is no reason for a brake. REQUIRES: count_window was called.
  void end_window() noexcept;
  /// The limit was tried without being reached; so many were in flight at most.
  void end_unfilled_trial(std::size_t most_in_flight) noexcept;
  void start_window(std::size_t discard = CompletionWindow::kCountAll) noexcept;

  /// Forgets all evidence, and begins anew from there.
  void begin_at(std::size_t base, LimitReason reason) noexcept;
  /// The same, with a lower ceiling for good.
  void lower_ceiling(std::size_t ceiling) noexcept { ceiling_ = ceiling; }
  /// Goes to a lower base, and does not come back to this limit for a while.
  void fall_back(std::size_t base, LimitReason reason) noexcept;
  /// What kept from higher limits was not their doing.
  void forget_brake() noexcept { brake_until_ = 0; }
  void record(LimitReason reason, std::size_t to, const Comparison& gain) noexcept;

  enum class Way : std::uint8_t { kUp, kDown };
  /// The limit so many times as large or small, and at least one further where there is one.
  [[nodiscard]] std::size_t step(std::size_t from, Way way, double factor) const noexcept;

 private:
  enum class Verdict : std::uint8_t { kYes, kNo, kUnclear };
  static constexpr std::size_t kShortestRest = 2;
  static constexpr double kLargestFactor = 2.0;

  void go(std::size_t limit, LimitReason reason, const Comparison& gain) noexcept;
  void base_window(const Tally& window) noexcept;
  void settle_trial(Verdict verdict, const Comparison& gain) noexcept;
  void move_base(std::size_t limit, Way way, const Comparison& gain) noexcept;
  void next_trial() noexcept;
  void try_limit(std::size_t limit) noexcept;
  void rest() noexcept;
  [[nodiscard]] Verdict judge(std::size_t limit) const noexcept;
  [[nodiscard]] double enough(std::size_t limit) const noexcept;
  [[nodiscard]] double loss_sure(std::size_t limit) const noexcept;
  [[nodiscard]] Comparison compare_with_base(std::size_t limit) const noexcept;
  /// Evidence at one limit fades beyond this many completions.
  [[nodiscard]] double evidence_cap() const noexcept;

  std::size_t ceiling_;
  std::size_t limit_;  ///< What was asked for last: the base, or a trial.
  std::size_t base_;
  CompletionWindow window_;
  std::uint64_t windows_ = 0;
  LevelStatistics levels_;
  DecisionLog log_;

  double factor_ = kLargestFactor;
  Way way_ = Way::kUp;
  std::array<std::size_t, 2> tried_{};  ///< By Way: failed from this base at this factor; 0: open.
  std::size_t trial_limit_ = 0;
  std::size_t trial_windows_ = 0;
  bool trying_again_ = false;
  std::chrono::nanoseconds trial_start_{0};

  bool resting_ = false;
  std::size_t rest_ = kShortestRest;
  std::size_t rested_ = 0;
  std::chrono::nanoseconds rest_start_{0};
  std::chrono::nanoseconds rest_time_{0};
  std::chrono::nanoseconds cost_{0};
  std::optional<KneeEstimate> knee_;

  std::size_t brake_ = 0;  ///< The largest limit allowed until window brake_until_.
  std::uint64_t brake_until_ = 0;
};

}  // namespace streamgate::policies::internal

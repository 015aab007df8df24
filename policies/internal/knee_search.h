// SPDX-License-Identifier: Apache-2.0
//
// The search of `knee`: it tries limits above and below the present one and keeps the smallest with
// the best throughput. What the throughputs prove is knee_evidence's; the brakes, and what reaches
// it from the executor, are knee_limit.cc's.
#pragma once

#include <streamgate/policies/internal/completion_window.h>
#include <streamgate/policies/internal/decision_log.h>
#include <streamgate/policies/internal/knee_evidence.h>
#include <streamgate/policies/internal/trial_pattern.h>
#include <streamgate/policies/internal/trial_rest.h>
#include <streamgate/policies/limit_policy.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace streamgate::policies::internal {

/// A pattern search on the logarithm of the limit, from a base that success moves (TrialPattern).
/// When the smallest steps have failed both ways the base is the knee: the search rests, and tries
/// again from time to time, as far apart as the trials are costly (TrialRest).
///
/// Externally synchronised. Owns its evidence. Never blocks; allocates only in the log's recent().
/// Nothing fails.
///
///     KneeSearch search(1, 64, KneeSearch::Start::kAnywhere);
///     search.window().take(...);
///     search.end_window();
///     gate.set_limit(op_class, search.limit());
class KneeSearch {
 public:
  enum class Start : std::uint8_t {
    kAnywhere,
    kAtKnee  ///< The probe has measured the initial limit to be the knee: it looks nearby first.
  };
  // REQUIRES: 1 <= initial <= ceiling.
  KneeSearch(std::size_t initial, std::size_t ceiling, Start start) noexcept;

  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::size_t ceiling() const noexcept { return ceiling_; }
  [[nodiscard]] std::size_t base() const noexcept { return base_; }
  [[nodiscard]] std::uint64_t windows() const noexcept { return windows_; }
  [[nodiscard]] CompletionWindow& window() noexcept { return window_; }
  [[nodiscard]] const DecisionLog& log() const noexcept { return log_; }
  [[nodiscard]] std::optional<KneeEstimate> knee() const noexcept { return knee_; }

  void count_window() noexcept;
  /// The window's last block but three, two or one is complete.
  void end_block() noexcept;
  /// All of them are, and there is no reason for a brake. REQUIRES: count_window was called.
  void end_window() noexcept;
  /// The limit was tried without being reached; so many were in flight at most.
  void end_unfilled_trial(std::size_t most_in_flight) noexcept;
  void start_window(std::size_t discard = CompletionWindow::kCountAll) noexcept;

  /// Forgets all evidence, and begins anew from there.
  void begin_at(std::size_t base, LimitReason reason) noexcept;
  /// Goes to a lower base, and does not come back to this limit for a while.
  void fall_back(std::size_t base, LimitReason reason) noexcept;
  /// Limits above that one are not tried for a while.
  void stay_at_most(std::size_t limit) noexcept;
  /// Whether limits above the base may be tried.
  enum class Growth : std::uint8_t { kFree, kHeld };
  void set_growth(Growth growth) noexcept;
  [[nodiscard]] bool may_grow() const noexcept { return growth_ == Growth::kFree; }
  /// What kept from higher limits was not their doing.
  void forget_brake() noexcept;
  void record(LimitReason reason, std::size_t to, const Comparison& gain) noexcept {
    log_.add({window_.now(), windows_, limit_, to, reason, gain.value, gain.low, gain.high});
  }

  using Way = TrialPattern::Way;
  [[nodiscard]] std::size_t step(std::size_t from, Way way, double factor) const noexcept {
    return pattern_.step(from, way, factor);
  }

 private:
  using Verdict = KneeEvidence::Verdict;

  void go(std::size_t limit, LimitReason reason, const Comparison& gain) noexcept;
  void end_base_window() noexcept;
  void begin_after_change(Way first) noexcept;
  void set_top() noexcept;
  void settle_trial(Verdict verdict, const Comparison& gain) noexcept;
  void doubt(const Comparison& gain) noexcept;
  void move_base(std::size_t limit, const Comparison& gain) noexcept;
  void next_trial() noexcept;
  [[nodiscard]] bool find_trial() noexcept;
  void try_limit(std::size_t limit) noexcept;
  void rest() noexcept {
    rest_.begin(window_.now());
    pattern_.begin(Way::kUp);
  }
  void end_rest() noexcept {
    trying_again_ = false;
    rest_.end();
  }

  std::size_t ceiling_;
  std::size_t limit_;  ///< What was asked for last: the base, or a trial.
  std::size_t base_;
  std::size_t base_at_change_ = 0;  ///< When throughput last changed by itself; 0: it never has.
  CompletionWindow window_;
  std::uint64_t windows_ = 0;
  KneeEvidence evidence_;
  DecisionLog log_;

  TrialPattern pattern_;
  std::size_t moves_by_memory_ = 0;  ///< Since the last window.
  std::size_t trial_limit_ = 0;
  std::size_t trial_windows_ = 0;
  std::size_t doubted_ = 0;  ///< The trial that is being repeated as its gain was not believed.
  bool trying_again_ = false;
  std::chrono::nanoseconds trial_start_{0};
  TrialRest rest_;
  std::optional<KneeEstimate> knee_;

  Growth growth_ = Growth::kFree;
  std::size_t brake_;              ///< The largest limit allowed until window brake_until_.
  std::uint64_t brake_until_ = 0;  ///< 0: none.
};

}  // namespace streamgate::policies::internal

// SPDX-License-Identifier: Apache-2.0
//
// The search of `knee`: what a window brings, and what others decide. Where it goes next is in
// knee_trials.cc.
#include <streamgate/policies/internal/knee_search.h>

#include <algorithm>
#include <utility>

namespace streamgate::policies::internal {
namespace {

constexpr std::size_t kTrialWindows = 5;  ///< Windows that one trial may take.
constexpr double kSame = 1.2;             ///< Limits that are no further apart are the same knee.
constexpr std::uint64_t kBrakeWindows = 64;  ///< For which a limit that failed is not tried.

}  // namespace

KneeSearch::KneeSearch(std::size_t initial, std::size_t ceiling, Start start) noexcept
    : ceiling_(ceiling),
      limit_(initial),
      base_(initial),
      pattern_(ceiling,
               start == Start::kAtKnee ? TrialPattern::kNearFactor : TrialPattern::kLargestFactor),
      brake_(ceiling) {
  start_window();
}

void KneeSearch::start_window(std::size_t discard) noexcept {
  moves_by_memory_ = 0;
  window_.start(limit_, evidence_.scatter(), discard);
}

void KneeSearch::go(std::size_t limit, LimitReason reason, const Comparison& gain) noexcept {
  record(reason, limit, gain);
  const std::size_t discard = std::max(limit, limit_);
  limit_ = limit;
  start_window(discard);
}

// ---- what a window brings ----

void KneeSearch::end_block() noexcept {
  if (limit_ == base_) return;
  const Verdict verdict = evidence_.judge_early(limit_, base_, window_, windows_);
  if (verdict == Verdict::kUnclear) return;
  count_window();
  settle_trial(verdict, evidence_.compare(limit_, base_));
}

void KneeSearch::end_window() noexcept {
  if (limit_ == base_) return end_base_window();
  evidence_.add(limit_, window_, windows_);
  const Verdict verdict = evidence_.judge(limit_, base_);
  ++trial_windows_;
  if (verdict != Verdict::kUnclear || trial_windows_ >= kTrialWindows) {
    settle_trial(verdict, evidence_.compare(limit_, base_));
  } else if (evidence_.base_is_weaker(limit_, base_)) {
    go(base_, LimitReason::kRemeasure, evidence_.compare(limit_, base_));
    trying_again_ = true;
  } else {
    start_window();
  }
}

void KneeSearch::end_base_window() noexcept {
  const Comparison change = evidence_.change(window_, base_);
  if (change.value != 0) {
    record(LimitReason::kChanged, base_, change);
    evidence_.forget();
    begin_after_change(change.value < 0 ? Way::kDown : Way::kUp);
    end_rest();
    // The window that shows it is of both plants: evidence begins with the next one.
    return start_window();
  }
  evidence_.add(base_, window_, windows_);
  if (rest_.resting()) {
    if (!rest_.over_after_window(window_.now())) return start_window();
    evidence_.forget_before(windows_, base_);
  }
  if (!std::exchange(trying_again_, false)) return next_trial();
  trial_start_ = window_.now();
  go(trial_limit_, LimitReason::kTrial, {});
}

/// Another plant may have its knee anywhere; another mix of requests has it where it was. Where the
/// last change has moved the base nowhere, this one is taken to be of the mix: it looks nearby
/// first, and success still makes the steps large.
void KneeSearch::begin_after_change(Way first) noexcept {
  const bool in_vain = base_at_change_ != 0 && step(base_at_change_, Way::kUp, kSame) >= base_ &&
                       step(base_, Way::kUp, kSame) >= base_at_change_;
  base_at_change_ = base_;
  if (in_vain) {
    pattern_.begin_near(first);
  } else {
    pattern_.begin_far(first);
  }
}

void KneeSearch::end_unfilled_trial(std::size_t most_in_flight) noexcept {
  if (most_in_flight > base_ && most_in_flight < limit_) {
    base_ = most_in_flight;  // All that it can use, and no more.
  }
  rest_.forget_cost();
  rest();
  go(base_, LimitReason::kApplication, {});
}

// ---- what others decide ----

void KneeSearch::begin_at(std::size_t base, LimitReason reason) noexcept {
  evidence_.forget();
  base_ = std::min(base, ceiling_);
  pattern_.begin_far(Way::kUp);
  end_rest();
  go(base_, reason, {});
}

void KneeSearch::fall_back(std::size_t base, LimitReason reason) noexcept {
  stay_at_most(limit_ - 1);
  base_ = std::max<std::size_t>(1, base);
  pattern_.begin(Way::kUp);
  end_rest();
  if (limit_ != base_) return go(base_, reason, {});
  record(reason, base_, {});
  start_window();
}

void KneeSearch::stay_at_most(std::size_t limit) noexcept {
  brake_ = std::clamp<std::size_t>(limit, 1, ceiling_);
  brake_until_ = windows_ + kBrakeWindows;
  set_top();
}

void KneeSearch::forget_brake() noexcept {
  brake_ = ceiling_;
  brake_until_ = 0;
  set_top();
}

void KneeSearch::set_growth(Growth growth) noexcept {
  growth_ = growth;
  set_top();
}

void KneeSearch::set_top() noexcept {
  pattern_.set_top(growth_ == Growth::kHeld ? std::min(brake_, base_) : brake_);
}

void KneeSearch::count_window() noexcept {
  if (++windows_ == brake_until_) forget_brake();
}

}  // namespace streamgate::policies::internal

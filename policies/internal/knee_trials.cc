// SPDX-License-Identifier: Apache-2.0
//
// The search of `knee`: what a trial has shown, and which limit is tried next.
#include <streamgate/policies/internal/knee_search.h>

#include <algorithm>

namespace streamgate::policies::internal {
namespace {

/// Without a new trial. Evidence that scatters can say of each of some limits that the next one is
/// better, in a circle.
constexpr std::size_t kMovesByMemory = 2;

}  // namespace

void KneeSearch::settle_trial(Verdict verdict, const Comparison& gain) noexcept {
  if (verdict == Verdict::kYes) {
    if (KneeEvidence::is_doubtful(limit_, base_, gain) && doubted_ != limit_) return doubt(gain);
    doubted_ = 0;
    move_base(limit_, gain);
    return next_trial();
  }
  rest_.add_cost(window_.now() - trial_start_, -gain.value);
  const Way way = limit_ > base_ ? Way::kUp : Way::kDown;
  record(verdict == Verdict::kUnclear ? LimitReason::kUnclear
         : way == Way::kUp            ? LimitReason::kNoGain
                                      : LimitReason::kLoss,
         base_, gain);
  pattern_.failed(limit_, base_);
  next_trial();
}

/// The plant, or the mix of requests, has changed since the base was measured: both anew, and what
/// comes of that is believed.
void KneeSearch::doubt(const Comparison& gain) noexcept {
  doubted_ = limit_;
  evidence_.forget();
  trial_windows_ = 0;
  trying_again_ = true;
  go(base_, LimitReason::kRemeasure, gain);
}

void KneeSearch::move_base(std::size_t limit, const Comparison& gain) noexcept {
  const Way way = limit > base_ ? Way::kUp : Way::kDown;
  record(way == Way::kUp ? LimitReason::kHelps : LimitReason::kEnough, limit, gain);
  if (way == Way::kDown && KneeEvidence::is_surprise(gain)) {
    evidence_.forget_before(windows_, limit);
  }
  base_ = limit;
  pattern_.moved(way);
  rest_.end();
  rest_.forget_cost();
}

void KneeSearch::next_trial() noexcept {
  while (!find_trial()) {
    if (pattern_.refine(base_)) continue;
    knee_ = KneeEstimate{.knee = base_,
                         .low = pattern_.lowest(),
                         .high = std::max(base_, pattern_.highest()),
                         .confirmed = window_.now(),
                         .per_second = evidence_.per_second(base_)};
    rest();
    if (limit_ == base_) return start_window();
    return go(base_, LimitReason::kRemeasure, {});
  }
}

/// Tries the next limit at this factor whose verdict is not known already; false when there is
/// none.
bool KneeSearch::find_trial() noexcept {
  while (const std::optional<std::size_t> next = pattern_.next(base_)) {
    const Verdict verdict = evidence_.judge_recent(*next, base_, windows_);
    if (verdict == Verdict::kYes && moves_by_memory_++ < kMovesByMemory) {
      move_base(*next, evidence_.compare(*next, base_));
    } else if (verdict == Verdict::kNo) {
      pattern_.failed(*next, base_);
    } else {
      try_limit(*next);
      return true;
    }
  }
  return false;
}

void KneeSearch::try_limit(std::size_t limit) noexcept {
  trial_windows_ = 0;
  trial_limit_ = limit;
  trial_start_ = window_.now();
  go(limit, LimitReason::kTrial, {});
}

}  // namespace streamgate::policies::internal

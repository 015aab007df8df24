// SPDX-License-Identifier: Apache-2.0
//
// The search of `knee`: when a limit is tried, what its throughput proves, and where it goes next.
#include <streamgate/policies/internal/knee_search.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace streamgate::policies::internal {
namespace {

constexpr double kDeviations = 1.64;         ///< A one-sided 95 %.
constexpr double kSmallestFactor = 1.05;
constexpr double kElasticity = 0.12;         ///< Less gain for the limit's growth is no gain.
constexpr double kLoss = 0.02;               ///< Throughput given up for a lower limit, at most,
constexpr double kLossSure = 0.08;           ///< and the largest that may be with 95 %.
constexpr double kLossShare = 0.2;
constexpr std::size_t kPatience = 5;         ///< Windows that one trial may take.
/// Without a new trial. Evidence that scatters can say of each of some limits that the next one is
/// better, in a circle.
constexpr std::size_t kMovesByMemory = 2;
constexpr std::uint64_t kFresh = 14;         ///< Windows for which evidence on other limits holds.
constexpr double kCostShare = 30;            ///< Rest is this many times the time a trial lost.
constexpr std::size_t kLongestRest = 8;      ///< In windows, where trials cost little.
constexpr std::size_t kCostliestRest = 40;

constexpr std::uint64_t kBrakeWindows = 64;  ///< For which a limit that failed is not tried.

}  // namespace

void KneeSearch::start_window(std::size_t discard) noexcept {
  window_.start(limit_, levels_.scatter(), discard);
}

void KneeSearch::go(std::size_t limit, LimitReason reason, const Comparison& gain) noexcept {
  record(reason, limit, gain);
  const std::size_t discard = std::max(limit, limit_);
  limit_ = limit;
  start_window(discard);
}

void KneeSearch::record(LimitReason reason, std::size_t to, const Comparison& gain) noexcept {
  log_.add({window_.now(), windows_, limit_, to, reason, gain.value, gain.low, gain.high});
}

double KneeSearch::evidence_cap() const noexcept {
  return 8.0 * static_cast<double>(window_.size());
}

void KneeSearch::end_block() noexcept {
  if (limit_ == base_) return;
  // A trial that clearly costs throughput, or clearly brings some, is over at once.
  const Level* base = levels_.find(base_);
  if (base == nullptr) return;
  const Tally sofar = window_.sum();
  const Comparison gain = levels_.compare(sofar, base->tally, 2.6);
  const bool helps = limit_ > base_ && gain.low > 2 * enough(limit_);
  if (!helps && gain.high >= -0.08) return;
  levels_.add(limit_, sofar, windows_, evidence_cap());
  ++windows_;
  settle_trial(helps ? Verdict::kYes : Verdict::kNo, gain);
}

void KneeSearch::end_window() noexcept {
  levels_.learn_scatter(window_.blocks(), CompletionWindow::kBlocks);
  if (limit_ == base_) return base_window(window_.sum());
  levels_.add(limit_, window_.sum(), windows_, evidence_cap());
  const Comparison gain = compare_with_base(limit_);
  const Verdict verdict = judge(limit_);
  ++trial_windows_;
  if (verdict != Verdict::kUnclear || trial_windows_ >= kPatience) {
    settle_trial(verdict, gain);
  } else if (levels_.find(limit_)->tally.count > 1.5 * levels_.find(base_)->tally.count) {
    go(base_, LimitReason::kRemeasure, gain);
    trying_again_ = true;
  } else {
    start_window();
  }
}

void KneeSearch::begin_at(std::size_t base, LimitReason reason) noexcept {
  levels_.clear();
  base_ = std::min(base, ceiling_);
  factor_ = kLargestFactor;
  go(base_, reason, {});
}

void KneeSearch::fall_back(std::size_t base, LimitReason reason) noexcept {
  brake_ = std::max<std::size_t>(1, limit_ - 1);
  brake_until_ = windows_ + kBrakeWindows;
  base_ = std::max<std::size_t>(1, base);
  way_ = Way::kUp;
  tried_ = {};
  trying_again_ = false;
  resting_ = false;
  rest_ = kShortestRest;
  if (limit_ != base_) return go(base_, reason, {});
  record(reason, base_, {});
  start_window();
}

void KneeSearch::end_unfilled_trial(std::size_t most_in_flight) noexcept {
  if (most_in_flight > base_ && most_in_flight < limit_) {
    base_ = most_in_flight;  // All that it can use, and no more.
  }
  cost_ = {};
  rest();
  go(base_, LimitReason::kApplication, {});
}

void KneeSearch::base_window(const Tally& window) noexcept {
  const Level* known = levels_.find(base_);
  if (known != nullptr) {
    const Comparison change = levels_.compare(window, known->tally, 3.5);
    if (std::abs(change.value) > 0.08 && (change.low > 0 || change.high < 0)) {
      record(LimitReason::kChanged, base_, change);
      levels_.clear();
      factor_ = kLargestFactor;
      way_ = change.value < 0 ? Way::kDown : Way::kUp;
      tried_ = {};
      resting_ = false;
      trying_again_ = false;
      rest_ = kShortestRest;
    }
  }
  levels_.add(base_, window, windows_, evidence_cap());
  if (resting_) {
    ++rested_;
    const bool long_enough = rested_ >= rest_ && window_.now() - rest_start_ >= rest_time_;
    if (!long_enough && rested_ < kCostliestRest) return start_window();
    resting_ = false;
    levels_.forget_before(windows_, base_);
    way_ = Way::kUp;
    tried_ = {};
  }
  if (!std::exchange(trying_again_, false)) return next_trial();
  trial_start_ = window_.now();
  go(trial_limit_, LimitReason::kTrial, {});
}

double KneeSearch::loss_sure(std::size_t limit) const noexcept {
  return std::max(
      kLossSure, kLossShare * std::log(static_cast<double>(base_) / static_cast<double>(limit)));
}
double KneeSearch::enough(std::size_t limit) const noexcept {
  return std::max(
      kElasticity * std::log(static_cast<double>(limit) / static_cast<double>(base_)), kLoss);
}
KneeSearch::Verdict KneeSearch::judge(std::size_t limit) const noexcept {
  const Level* tried = levels_.find(limit);
  const Level* base = levels_.find(base_);
  if (tried == nullptr || base == nullptr) return Verdict::kUnclear;
  if (limit > base_) {
    const Comparison gain = levels_.compare(tried->tally, base->tally, kDeviations);
    if (gain.low > 0 && gain.value > enough(limit)) return Verdict::kYes;
    return gain.high < enough(limit) ? Verdict::kNo : Verdict::kUnclear;
  }
  // Against the best limit lately, lest many small losses add up.
  const Level* best = levels_.best(static_cast<double>(CompletionWindow::kBlocks * CompletionWindow::kSmallestBlock));
  if (best == nullptr || best->limit <= limit) best = base;
  const Comparison gain = levels_.compare(tried->tally, best->tally, kDeviations);
  if (gain.value > -kLoss && gain.low > -loss_sure(limit)) return Verdict::kYes;
  return gain.high < -kLoss ? Verdict::kNo : Verdict::kUnclear;
}

Comparison KneeSearch::compare_with_base(std::size_t limit) const noexcept {
  const Level* tried = levels_.find(limit);
  const Level* base = levels_.find(base_);
  if (tried == nullptr || base == nullptr) return {};
  return levels_.compare(tried->tally, base->tally, kDeviations);
}

void KneeSearch::settle_trial(Verdict verdict, const Comparison& gain) noexcept {
  const Way way = limit_ > base_ ? Way::kUp : Way::kDown;
  if (verdict == Verdict::kYes) {
    move_base(limit_, way, gain);
  } else {
    const double lost = std::chrono::duration<double>(window_.now() - trial_start_).count() *
                        std::clamp(-gain.value, 0.0, 1.0);
    cost_ += std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(lost * kCostShare));
    record(verdict == Verdict::kUnclear ? LimitReason::kUnclear
           : way == Way::kUp            ? LimitReason::kNoGain
                                        : LimitReason::kLoss,
           base_, gain);
    tried_[static_cast<std::size_t>(way)] = limit_;
    way_ = way == Way::kUp ? Way::kDown : Way::kUp;
  }
  next_trial();
}

void KneeSearch::move_base(std::size_t limit, Way way, const Comparison& gain) noexcept {
  record(way == Way::kUp ? LimitReason::kHelps : LimitReason::kEnough, limit, gain);
  base_ = limit;
  way_ = way;
  // The same way again, with larger steps; the limit that was the base is known to be worse, or
  // no better, than this one.
  factor_ = std::min(kLargestFactor, factor_ * factor_);
  tried_ = {};
  rest_ = kShortestRest;
  cost_ = {};
}

/// Tries the next limit of the pattern whose verdict is not known already, or rests.
void KneeSearch::next_trial() noexcept {
  std::size_t moves = 0;
  for (;;) {
    for (int turn = 0; turn < 2; ++turn) {
      std::size_t& tried = tried_[static_cast<std::size_t>(way_)];
      if (tried == 0) {
        const std::size_t next = step(base_, way_, factor_);
        if (next == base_) {
          tried = next;
        } else {
          const Level* known = levels_.find(next);
          const bool fresh = known != nullptr && windows_ - known->window < kFresh;
          const Verdict verdict = fresh ? judge(next) : Verdict::kUnclear;
          if (verdict == Verdict::kYes && moves++ < kMovesByMemory) {
            move_base(next, way_, compare_with_base(next));
            turn = -1;
            continue;
          }
          if (verdict != Verdict::kNo) return try_limit(next);
          tried = next;
        }
      }
      way_ = way_ == Way::kUp ? Way::kDown : Way::kUp;
    }
    const auto smaller = [this](Way way, double factor) {
      return step(base_, way, factor) != tried_[static_cast<std::size_t>(way)];
    };
    const double next_factor = std::sqrt(factor_);
    if (next_factor < kSmallestFactor ||
        (!smaller(Way::kUp, next_factor) && !smaller(Way::kDown, next_factor))) {
      break;
    }
    factor_ = next_factor;
    tried_ = {};
  }
  knee_ = KneeEstimate{.knee = base_,
           .low = std::max<std::size_t>(1, tried_[1]),
           .high = std::max(base_, tried_[0]),
           .confirmed = window_.now()};
  rest();
  if (limit_ != base_) {
    go(base_, LimitReason::kRemeasure, {});
  } else {
    start_window();
  }
}

void KneeSearch::rest() noexcept {
  resting_ = true;
  rested_ = 0;
  rest_start_ = window_.now();
  rest_time_ = std::exchange(cost_, {});
  rest_ = std::min(rest_ * 2, kLongestRest);
  tried_ = {};
}

void KneeSearch::try_limit(std::size_t limit) noexcept {
  trial_windows_ = 0;
  trial_limit_ = limit;
  trial_start_ = window_.now();
  go(limit, LimitReason::kTrial, {});
}

std::size_t KneeSearch::step(std::size_t from, Way way, double factor) const noexcept {
  const auto start = static_cast<double>(from);
  if (way == Way::kDown) {
    const auto down = static_cast<std::size_t>(std::floor(start / factor + 1e-9));
    return std::max<std::size_t>(1, std::min(down, from - 1));
  }
  const auto up = static_cast<std::size_t>(std::ceil(start * factor - 1e-9));
  const std::size_t top = windows_ < brake_until_ ? std::min(brake_, ceiling_) : ceiling_;
  return std::max(from, std::min(std::max(up, from + 1), top));
}

}  // namespace streamgate::policies::internal

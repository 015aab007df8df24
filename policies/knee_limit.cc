// SPDX-License-Identifier: Apache-2.0
//
// `knee`: looks for the smallest limit with which throughput is at its best, by trying limits above
// and below the present one and comparing completions per second. It has no baseline of latency. It
// does not know the ceiling's reason; it never asks for more than the ceiling.
//
// The search is a pattern search on the logarithm of the limit. From the base, a limit `factor_`
// times as large is tried, then one as much smaller. Success moves the base, and the next trial goes
// the same way with a larger factor; failure both ways makes the factor smaller. When the smallest
// factor has failed both ways the base is the knee: the policy rests, and tries again from time to
// time, as far apart as the trials are costly.
#include <streamgate/policies/internal/level_statistics.h>
#include <streamgate/policies/internal/limit_factories.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <utility>

namespace streamgate::policies::internal {
namespace {

constexpr std::size_t kBlocks = 4;           ///< Of a window; their scatter says how sure it is.
constexpr std::size_t kSmallestBlock = 16;   ///< In completions.
constexpr std::size_t kLargestBlock = 256;    ///< Where the scatter is large.
constexpr double kDeviations = 1.64;         ///< A one-sided 95 %.
constexpr double kLargestFactor = 2.0;
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
constexpr double kErrorShare = 0.05;         ///< Of a window's tasks, above the usual share.
constexpr std::size_t kDecisions = 64;
constexpr std::uint64_t kBrakeWindows = 64;  ///< For which a limit that failed is not tried.

class KneeLimit final : public LimitPolicy {
 public:
  explicit KneeLimit(const LimitPolicyOptions& options) noexcept
      : initial_(options.initial),
        ceiling_(options.ceiling),
        latency_target_(std::chrono::duration<double>(options.latency_target).count()),
        limit_(options.initial),
        base_(options.initial) {
    start_window();
  }

  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }

  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    const std::size_t before = limit_;
    take(observation);
    if (limit_ == before) return std::nullopt;
    return limit_;
  }

  std::optional<KneeEstimate> knee() const noexcept override {
    if (knee_.knee == 0) return std::nullopt;
    return knee_;
  }

  std::vector<LimitDecision> recent_decisions() const override {
    std::vector<LimitDecision> recent;
    const std::uint64_t first = decided_ > kDecisions ? decided_ - kDecisions : 0;
    for (std::uint64_t i = first; i < decided_; ++i) recent.push_back(ring_[i % kDecisions]);
    return recent;
  }

  std::array<std::uint64_t, kLimitReasons> decision_counts() const noexcept override {
    return counts_;
  }

  std::uint64_t windows() const noexcept override { return windows_; }

 private:
  enum class Way : std::uint8_t { kUp, kDown };
  enum class Verdict : std::uint8_t { kYes, kNo, kUnclear };

  // ---- The path of every completion -------------------------------------------------------------

  void take(const Observation& o) noexcept {
    // A clock that jumps back, or a completion that was overtaken, is no time at all.
    double seconds = std::chrono::duration<double>(std::max(o.now - now_, {})).count();
    now_ = std::max(now_, o.now);
    if (o.limit != limit_) return others_limit(o);
    strangers_ = 0;
    const bool full = o.in_flight >= limit_;
    const bool was_full = std::exchange(full_, full);
    if (discard_ > 0) {
      // These were admitted, or filled the pipe, under the limit before.
      --discard_;
      return;
    }
    const double service = std::chrono::duration<double>(o.service).count();
    if (limit_ == 1) {
      // One permit is in use at every completion; what shows that it lay idle is a gap before the
      // task in which the task itself did not wait.
      const double gap = seconds - service;
      seconds -= std::max(0.0, gap - std::chrono::duration<double>(o.wait).count());
    }
    ++seen_;
    most_in_flight_ = std::max(most_in_flight_, o.in_flight);
    service_seconds_ += service;
    if (!o.good && ++bad_ >= 8 && share_of_bad() > usual_bad_ + 0.25) return brake_on_errors();
    if (full && was_full) {
      block_.count += o.good ? 1 : 0;
      block_.seconds += seconds;
      if (++steps_ == block_size_) return end_block();
    }
    if (seen_ >= 2 * kBlocks * block_size_) end_unfilled_window();
  }

  /// The gate is not where this policy has put it. A few completions may still tell of the limit
  /// before; more mean that somebody holds it there.
  void others_limit(const Observation& o) noexcept {
    if (++strangers_ < 2 * std::max(o.limit, limit_) + 64 || o.limit == 0) return;
    ceiling_ = std::max<std::size_t>(1, o.limit < limit_ ? o.limit : ceiling_);
    levels_.clear();
    base_ = std::min(o.limit, ceiling_);
    factor_ = kLargestFactor;
    go(base_, LimitReason::kMoved, {});
  }

  // ---- Windows ----------------------------------------------------------------------------------

  void start_window() noexcept {
    const double wanted = kSmallestBlock * std::clamp(levels_.scatter() / 0.1, 1.0, 16.0);
    const std::size_t least = std::min(static_cast<std::size_t>(wanted), kLargestBlock);
    // Whole rounds of the permits: tasks that started together end together, and a part of such a
    // round would be taken for a change of speed.
    block_size_ = limit_ * ((least + limit_ - 1) / limit_);
    steps_ = seen_ = bad_ = blocks_done_ = most_in_flight_ = 0;
    service_seconds_ = 0;
    block_ = {};
  }

  void end_block() noexcept {
    blocks_[blocks_done_++] = std::exchange(block_, {});
    steps_ = 0;
    if (blocks_done_ == kBlocks) return end_window();
    if (limit_ == base_) return;
    // A trial that clearly costs throughput is over at once.
    const Level* base = levels_.find(base_);
    if (base == nullptr) return;
    Tally sofar;
    for (std::size_t i = 0; i < blocks_done_; ++i) sofar.add(blocks_[i]);
    const Comparison gain = levels_.compare(sofar, base->tally, 2.6);
    const bool helps = limit_ > base_ && gain.low > 2 * enough(limit_);
    if (helps || gain.high < -0.08) {
      levels_.add(limit_, sofar, windows_, evidence_cap());
      ++windows_;
      settle_trial(helps ? Verdict::kYes : Verdict::kNo, gain);
    }
  }

  void end_window() noexcept {
    ++windows_;
    idle_windows_ = 0;
    Tally window;
    for (const Tally& block : blocks_) window.add(block);
    const double bad = share_of_bad();
    if (bad_ >= 3 && bad > usual_bad_ + kErrorShare) return brake_on_errors();
    if (checked_limit_ != 0 && limit_ == base_) checked_limit_ = 0;  // Lowering it has helped.
    const double mean_service = service_seconds_ / static_cast<double>(std::max<std::size_t>(seen_, 1));
    if (latency_target_ > 0 && mean_service > latency_target_ && limit_ > 1) {
      return brake(LimitReason::kLatency, limit_ > base_ ? base_ : step(limit_, Way::kDown, 1.25));
    }
    levels_.learn_scatter(blocks_, kBlocks);
    if (limit_ == base_) {
      base_window(window);
    } else {
      levels_.add(limit_, window, windows_, evidence_cap());
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
  }

  void base_window(const Tally& window) noexcept {
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
      const bool long_enough = rested_ >= rest_ && now_ - rest_start_ >= rest_time_;
      if (!long_enough && rested_ < kCostliestRest) return start_window();
      resting_ = false;
      levels_.forget_before(windows_, base_);
      way_ = Way::kUp;
      tried_ = {};
    }
    if (!std::exchange(trying_again_, false)) return next_trial();
    trial_start_ = now_;
    go(trial_limit_, LimitReason::kTrial, {});
  }

  void end_unfilled_window() noexcept {
    // The permits lay idle: what was completed is what was asked for, and says nothing of the limit.
    if (bad_ >= 3 && share_of_bad() > usual_bad_ + kErrorShare) return brake_on_errors();
    const std::size_t most = most_in_flight_;
    if (limit_ == base_) {
      if (++idle_windows_ == 1) record(LimitReason::kApplication, base_, {});
      return start_window();
    }
    if (most > base_ && most < limit_) base_ = most;  // All that it can use, and no more.
    cost_ = {};
    rest();
    go(base_, LimitReason::kApplication, {});
  }

  // ---- The search -------------------------------------------------------------------------------

  [[nodiscard]] double loss_sure(std::size_t limit) const noexcept {
    return std::max(
        kLossSure, kLossShare * std::log(static_cast<double>(base_) / static_cast<double>(limit)));
  }
  [[nodiscard]] double enough(std::size_t limit) const noexcept {
    return std::max(
        kElasticity * std::log(static_cast<double>(limit) / static_cast<double>(base_)), kLoss);
  }
  [[nodiscard]] Verdict judge(std::size_t limit) const noexcept {
    const Level* tried = levels_.find(limit);
    const Level* base = levels_.find(base_);
    if (tried == nullptr || base == nullptr) return Verdict::kUnclear;
    if (limit > base_) {
      const Comparison gain = levels_.compare(tried->tally, base->tally, kDeviations);
      if (gain.low > 0 && gain.value > enough(limit)) return Verdict::kYes;
      return gain.high < enough(limit) ? Verdict::kNo : Verdict::kUnclear;
    }
    // Against the best limit lately, lest many small losses add up.
    const Level* best = levels_.best(static_cast<double>(kBlocks * kSmallestBlock));
    if (best == nullptr || best->limit <= limit) best = base;
    const Comparison gain = levels_.compare(tried->tally, best->tally, kDeviations);
    if (gain.value > -kLoss && gain.low > -loss_sure(limit)) return Verdict::kYes;
    return gain.high < -kLoss ? Verdict::kNo : Verdict::kUnclear;
  }

  [[nodiscard]] Comparison compare_with_base(std::size_t limit) const noexcept {
    const Level* tried = levels_.find(limit);
    const Level* base = levels_.find(base_);
    if (tried == nullptr || base == nullptr) return {};
    return levels_.compare(tried->tally, base->tally, kDeviations);
  }

  void settle_trial(Verdict verdict, const Comparison& gain) noexcept {
    const Way way = limit_ > base_ ? Way::kUp : Way::kDown;
    if (verdict == Verdict::kYes) {
      move_base(limit_, way, gain);
    } else {
      const double lost = std::chrono::duration<double>(now_ - trial_start_).count() *
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

  void move_base(std::size_t limit, Way way, const Comparison& gain) noexcept {
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
  void next_trial() noexcept {
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
    knee_ = {.knee = base_,
             .low = std::max<std::size_t>(1, tried_[1]),
             .high = std::max(base_, tried_[0]),
             .confirmed = now_};
    rest();
    if (limit_ != base_) {
      go(base_, LimitReason::kRemeasure, {});
    } else {
      start_window();
    }
  }

  void rest() noexcept {
    resting_ = true;
    rested_ = 0;
    rest_start_ = now_;
    rest_time_ = std::exchange(cost_, {});
    rest_ = std::min(rest_ * 2, kLongestRest);
    tried_ = {};
  }

  void try_limit(std::size_t limit) noexcept {
    trial_windows_ = 0;
    trial_limit_ = limit;
    trial_start_ = now_;
    go(limit, LimitReason::kTrial, {});
  }

  [[nodiscard]] std::size_t step(std::size_t from, Way way, double factor) const noexcept {
    const auto start = static_cast<double>(from);
    if (way == Way::kDown) {
      const auto down = static_cast<std::size_t>(std::floor(start / factor + 1e-9));
      return std::max<std::size_t>(1, std::min(down, from - 1));
    }
    const auto up = static_cast<std::size_t>(std::ceil(start * factor - 1e-9));
    const std::size_t top = windows_ < brake_until_ ? std::min(brake_, ceiling_) : ceiling_;
    return std::max(from, std::min(std::max(up, from + 1), top));
  }

  // ---- Brakes -----------------------------------------------------------------------------------

  [[nodiscard]] double share_of_bad() const noexcept {
    return static_cast<double>(bad_) / static_cast<double>(std::max<std::size_t>(seen_, 1));
  }

  void brake_on_errors() noexcept {
    const double bad = share_of_bad();
    if (limit_ == base_ && checked_limit_ != 0 && bad > 0.7 * checked_bad_) {
      // As many fail at half the limit: throttling is no help.
      usual_bad_ = std::min(1.0, 1.1 * std::max(bad, checked_bad_));
      base_ = std::exchange(checked_limit_, 0);
      brake_until_ = 0;
      levels_.clear();
      return go(base_, LimitReason::kNotErrors, {});
    }
    if (limit_ != base_) return brake(LimitReason::kErrors, std::min(base_, limit_));
    if (base_ == 1) {
      usual_bad_ = bad;
      record(LimitReason::kNotErrors, base_, {});
      return start_window();
    }
    checked_limit_ = base_;
    checked_bad_ = bad;
    brake(LimitReason::kErrors, base_ / 2);
  }

  void brake(LimitReason reason, std::size_t to) noexcept {
    brake_ = std::max<std::size_t>(1, limit_ - 1);
    brake_until_ = windows_ + kBrakeWindows;
    base_ = std::max<std::size_t>(1, to);
    way_ = Way::kUp;
    tried_ = {};
    trying_again_ = false;
    resting_ = false;
    rest_ = kShortestRest;
    if (limit_ == base_) {
      record(reason, base_, {});
      return start_window();
    }
    go(base_, reason, {});
  }

  // ---- Records ----------------------------------------------------------------------------------

  void go(std::size_t limit, LimitReason reason, const Comparison& gain) noexcept {
    record(reason, limit, gain);
    discard_ = std::max(limit, limit_);
    limit_ = limit;
    start_window();
  }

  void record(LimitReason reason, std::size_t to, const Comparison& gain) noexcept {
    ++counts_[static_cast<std::size_t>(reason)];
    ring_[decided_++ % kDecisions] = {now_,   windows_,   limit_,   to,
                                      reason, gain.value, gain.low, gain.high};
  }

  /// Evidence at one limit fades beyond this many completions.
  [[nodiscard]] double evidence_cap() const noexcept {
    return 8.0 * static_cast<double>(kBlocks * block_size_);
  }

  static constexpr std::size_t kShortestRest = 2;

  std::size_t initial_;
  std::size_t ceiling_;
  double latency_target_;  ///< Seconds; 0: none.
  std::size_t limit_;      ///< What was asked for last: the base, or a trial.
  std::size_t base_;

  // The window in the making.
  std::chrono::nanoseconds now_{0};
  bool full_ = false;
  std::size_t discard_ = 0;
  std::size_t block_size_ = 0;
  std::size_t steps_ = 0;
  std::size_t seen_ = 0;
  std::size_t bad_ = 0;
  std::size_t most_in_flight_ = 0;
  std::size_t strangers_ = 0;
  double service_seconds_ = 0;
  Tally block_;
  std::array<Tally, kBlocks> blocks_{};
  std::size_t blocks_done_ = 0;
  std::uint64_t windows_ = 0;
  std::size_t idle_windows_ = 0;

  // The search.
  LevelStatistics levels_;
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
  KneeEstimate knee_;

  // The brakes.
  std::size_t brake_ = 0;  ///< The largest limit allowed until window brake_until_.
  std::uint64_t brake_until_ = 0;
  double usual_bad_ = 0;   ///< The share of failing tasks that the limit has no part in.
  std::size_t checked_limit_ = 0;  ///< The base before errors halved it; 0: nothing to check.
  double checked_bad_ = 0;

  std::array<LimitDecision, kDecisions> ring_{};
  std::uint64_t decided_ = 0;
  std::array<std::uint64_t, kLimitReasons> counts_{};
};

}  // namespace

std::unique_ptr<LimitPolicy> make_knee_limit(const LimitPolicyOptions& options) {
  return std::make_unique<KneeLimit>(options);
}

}  // namespace streamgate::policies::internal

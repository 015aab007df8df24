// SPDX-License-Identifier: Apache-2.0
//
// `knee` on a CPU whose cores tasks share: it also chooses between many tasks with one thread each
// and fewer tasks with more threads within. It compares the throughputs at the knees of both; how a
// knee is found for one number of threads is knee_limit.cc's.
#include <streamgate/policies/internal/decision_log.h>
#include <streamgate/policies/internal/limit_factories.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace streamgate::policies::internal {
namespace {

using std::chrono::nanoseconds;

/// A number of threads is given up for another one that does so much better: more than two
/// measurements one after the other differ by themselves.
constexpr double kBetter = 1.05;
/// A number of threads that does so much worse is given up without looking for its knee.
constexpr double kFarWorse = 0.7;
constexpr std::uint64_t kQuickLook = 32;  ///< In completions, as what follows.
constexpr std::uint64_t kPatience = 4'096;
constexpr std::uint64_t kShortestRest = 4'096;  ///< Between two trials, growing with each failure,
constexpr std::uint64_t kLongestRest = 1 << 18;
constexpr double kCostShare = 50;  ///< and at least so many times the time that the last one took.

class SplitLimit final : public LimitPolicy {
 public:
  explicit SplitLimit(const LimitPolicyOptions& options) {
    for (std::size_t threads = 1; threads <= options.cores_to_split; threads *= 2) {
      LimitPolicyOptions share = options;
      share.cores_to_split = 0;
      if (threads > 1) {
        // More tasks than the cores have room for, and that wait for each other inside an
        // operation, are the cliff of facts 3. With one thread each, spare permits only keep
        // successors awake.
        share.ceiling = std::clamp<std::size_t>(options.cores_to_split / threads, 1, share.ceiling);
        share.initial = std::min(share.initial, share.ceiling);
        share.initial_is_knee = false;
      }
      ways_.push_back({threads, share.initial, make_knee_limit(share)});
    }
  }

  std::size_t initial_limit() const noexcept override { return ways_[active_].limit; }
  bool wants_observations() const noexcept override { return true; }
  std::size_t intra_op_threads() const noexcept override { return ways_[active_].threads; }
  std::optional<KneeEstimate> knee() const noexcept override { return ways_[best_].policy->knee(); }

  std::vector<LimitDecision> recent_decisions() const override {
    std::vector<LimitDecision> all = log_.recent();
    for (const Way& way : ways_) {
      const std::vector<LimitDecision> of_way = way.policy->recent_decisions();
      all.insert(all.end(), of_way.begin(), of_way.end());
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const LimitDecision& a, const LimitDecision& b) { return a.now < b.now; });
    return all;
  }
  std::array<std::uint64_t, kLimitReasons> decision_counts() const noexcept override {
    std::array<std::uint64_t, kLimitReasons> counts = log_.counts();
    for (const Way& way : ways_) {
      const auto of_way = way.policy->decision_counts();
      for (std::size_t i = 0; i < kLimitReasons; ++i) counts[i] += of_way[i];
    }
    return counts;
  }
  std::uint64_t windows() const noexcept override {
    std::uint64_t windows = 0;
    for (const Way& way : ways_) windows += way.policy->windows();
    return windows;
  }

  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    now_ = std::max(now_, observation.now);
    Way& way = ways_[active_];
    Observation seen = observation;
    // The way was left alone for a time in which others completed.
    if (std::exchange(returned_, false)) ++seen.missed;
    const std::optional<std::size_t> limit = way.policy->observe(seen);
    way.limit = limit.value_or(way.limit);
    good_ += observation.good ? 1 : 0;
    ++ended_;
    const std::optional<std::size_t> next = active_ == best_ ? next_trial() : judge_trial();
    if (!next) return limit;
    go(*next);
    return ways_[active_].limit;
  }

 private:
  struct Way {
    std::size_t threads;
    std::size_t limit;
    std::unique_ptr<LimitPolicy> policy;
  };

  [[nodiscard]] double seconds() const noexcept {
    return std::chrono::duration<double>(now_ - since_).count();
  }

  /// Once the knee of the best way is known, and it is time: the way to try next.
  [[nodiscard]] std::optional<std::size_t> next_trial() noexcept {
    if (ways_.size() == 1 || ended_ < rest_ || seconds() < least_seconds_) return std::nullopt;
    const auto knee = ways_[best_].policy->knee();
    if (!knee || knee->confirmed < since_) return std::nullopt;
    candidate_ = (candidate_ + 1) % ways_.size();
    if (candidate_ == best_) candidate_ = (candidate_ + 1) % ways_.size();
    return candidate_;
  }

  /// The way to go on with, when it is clear.
  [[nodiscard]] std::optional<std::size_t> judge_trial() noexcept {
    const double best = ways_[best_].policy->knee()->per_second;
    if (ended_ == kQuickLook && static_cast<double>(good_) < kFarWorse * best * seconds()) {
      return give_up();
    }
    const auto knee = ways_[active_].policy->knee();
    if (!knee || knee->confirmed < since_) {
      return ended_ < kPatience ? std::nullopt : give_up();
    }
    if (knee->per_second < kBetter * best) return give_up();
    best_ = active_;
    rest_ = kShortestRest;
    least_seconds_ = 0;
    record(knee->per_second / best);
    begin();
    return std::nullopt;
  }

  [[nodiscard]] std::optional<std::size_t> give_up() noexcept {
    rest_ = std::min(rest_ * 2, kLongestRest);
    least_seconds_ = kCostShare * seconds();
    return best_;
  }

  void go(std::size_t way) noexcept {
    active_ = way;
    returned_ = true;
    record(1);
    begin();
  }
  void begin() noexcept {
    since_ = now_;
    ended_ = good_ = 0;
  }
  void record(double ratio) noexcept {
    const double gain = std::log(std::max(ratio, 1e-9));
    log_.add({now_, windows(), ways_[best_].limit, ways_[active_].limit, LimitReason::kSplit, gain,
              gain, gain});
  }

  std::vector<Way> ways_;
  std::size_t best_ = 0;
  std::size_t active_ = 0;  ///< The best, or a trial.
  std::size_t candidate_ = 0;
  bool returned_ = false;
  nanoseconds now_{0};
  nanoseconds since_{0};     ///< When it went to the active way, or made it the best one.
  std::uint64_t ended_ = 0;  ///< Completions since then,
  std::uint64_t good_ = 0;   ///< and of them the good ones.
  std::uint64_t rest_ = kShortestRest;
  double least_seconds_ = 0;
  DecisionLog log_;
};

}  // namespace

std::unique_ptr<LimitPolicy> make_split_limit(const LimitPolicyOptions& options) {
  return std::make_unique<SplitLimit>(options);
}

}  // namespace streamgate::policies::internal

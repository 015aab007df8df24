// SPDX-License-Identifier: Apache-2.0
//
// `knee` that only watches. It tries nothing, as nothing that it asks for is put into force: it
// goes by how long tasks take while more or fewer happen to be in flight, which by Little's law
// says how many a second that many would complete. What the load never shows it cannot know, and
// its interval says so.
#include <streamgate/policies/internal/decision_log.h>
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

constexpr std::size_t kBlock = 16;
constexpr std::size_t kBlocks = 4;
constexpr std::size_t kHistory = 1024;  ///< No gate has more in flight.
constexpr double kAtMost = 8 * kBlocks * kBlock;

/// Evidence is kept by number in flight: each up to 8, from there on in steps of a fifth, lest it
/// scatter over too many.
constexpr std::size_t kLevels = 8 + 4 * 7 + 1;
std::size_t level_of(std::size_t in_flight) {
  if (in_flight <= 8) return std::max<std::size_t>(1, in_flight) - 1;
  const auto up =
      static_cast<std::size_t>(std::lround(4 * std::log2(static_cast<double>(in_flight) / 8)));
  return std::min(7 + up, kLevels - 1);
}
std::size_t limit_of(std::size_t level) {
  if (level < 8) return level + 1;
  return static_cast<std::size_t>(std::lround(8 * std::exp2(static_cast<double>(level - 7) / 4)));
}

class ShadowKneeLimit final : public LimitPolicy {
 public:
  explicit ShadowKneeLimit(const LimitPolicyOptions& options) noexcept
      : initial_(options.initial), ceiling_(options.ceiling), wanted_(options.initial) {}

  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return ceiling_ > 1; }
  std::optional<KneeEstimate> knee() const noexcept override { return knee_; }
  std::vector<LimitDecision> recent_decisions() const override { return log_.recent(); }
  std::uint64_t windows() const noexcept override { return windows_; }
  std::array<std::uint64_t, kLimitReasons> decision_counts() const noexcept override {
    return log_.counts();
  }

  std::optional<std::size_t> observe(const Observation& o) noexcept override {
    now_ = std::max(now_, o.now);
    const std::size_t in_flight = while_it_ran(std::clamp<std::size_t>(o.in_flight, 1, ceiling_));
    const std::size_t level = level_of(in_flight);
    Gathered& gathered = gathered_[level];
    Tally& block = gathered.blocks[gathered.done];
    block.count += o.good ? 1 : 0;
    block.seconds += std::chrono::duration<double>(std::max(o.service, {})).count() /
                     static_cast<double>(in_flight);
    if (++gathered.steps < kBlock) return std::nullopt;
    gathered.steps = 0;
    if (++gathered.done < kBlocks) return std::nullopt;
    return end_window(std::min(limit_of(level), ceiling_), std::exchange(gathered, {}));
  }

 private:
  struct Gathered {
    std::array<Tally, kBlocks> blocks{};
    std::size_t steps = 0;
    std::size_t done = 0;
  };

  /// How many were in flight while the task ran, on average: between now and its admission, about
  /// as many have ended as are in flight. Where load rises or falls, that is not the number now.
  [[nodiscard]] std::size_t while_it_ran(std::size_t now) noexcept {
    const std::size_t then = history_[(ended_ - now) % kHistory];
    history_[ended_++ % kHistory] = static_cast<std::uint16_t>(now);
    return then == 0 ? now : (now + then + 1) / 2;
  }

  std::optional<std::size_t> end_window(std::size_t limit, const Gathered& gathered) noexcept {
    ++windows_;
    Tally sum;
    for (const Tally& block : gathered.blocks) sum.add(block);
    levels_.learn_scatter(gathered.blocks, kBlocks);
    levels_.add(limit, sum, windows_, kAtMost);
    const Level* const best = levels_.best(kBlocks * kBlock);
    if (best == nullptr) return std::nullopt;

    // The smallest that completes as much as the best one; on either side of it, what is measured
    // to be less, or to be no more.
    const Level* knee = best;
    for (const Level& level : levels_.all()) {
      if (level.limit == 0 || level.limit >= knee->limit) continue;
      if (levels_.compare(level.tally, best->tally, kDeviations).value > -kLoss) knee = &level;
    }
    KneeEstimate estimate{.knee = knee->limit,
                          .low = 1,
                          .high = ceiling_,
                          .confirmed = now_,
                          .per_second = knee->tally.rate()};
    for (const Level& level : levels_.all()) {
      if (level.limit == 0) continue;
      const Comparison gain = levels_.compare(level.tally, knee->tally, kDeviations);
      if (level.limit < knee->limit && gain.high < -kLoss) {
        estimate.low = std::max(estimate.low, level.limit);
      }
      if (level.limit > knee->limit && gain.high < kLoss) {
        estimate.high = std::min(estimate.high, level.limit);
      }
    }
    knee_ = estimate;
    if (knee->limit == wanted_) return std::nullopt;
    const Comparison gain = compare_with(wanted_, *knee);
    log_.add({now_, windows_, wanted_, knee->limit,
              knee->limit > wanted_ ? LimitReason::kHelps : LimitReason::kEnough, gain.value,
              gain.low, gain.high});
    wanted_ = knee->limit;
    return wanted_;
  }

  [[nodiscard]] Comparison compare_with(std::size_t limit, const Level& knee) const noexcept {
    const Level* const before = levels_.find(limit);
    if (before == nullptr) return {};
    return levels_.compare(knee.tally, before->tally, kDeviations);
  }

  std::size_t initial_;
  std::size_t ceiling_;
  std::size_t wanted_;
  std::chrono::nanoseconds now_{0};
  std::array<std::uint16_t, kHistory> history_{};  ///< In flight, by completion; 0: none yet.
  std::uint64_t ended_ = 0;
  std::array<Gathered, kLevels> gathered_{};  ///< By level.
  std::uint64_t windows_ = 0;
  LevelStatistics levels_;
  DecisionLog log_;
  std::optional<KneeEstimate> knee_;
};

}  // namespace

std::unique_ptr<LimitPolicy> make_shadow_knee_limit(const LimitPolicyOptions& options) {
  return std::make_unique<ShadowKneeLimit>(options);
}

}  // namespace streamgate::policies::internal

// SPDX-License-Identifier: Apache-2.0
//
// How sure is sure enough. The constants were chosen with the random plants 0 to 99 of
// tests/simulation, and with no others.
#include <streamgate/policies/internal/knee_evidence.h>

#include <algorithm>
#include <cmath>

namespace streamgate::policies::internal {
namespace {

constexpr double kDeviationsEarly = 2.6;   ///< There are as many early looks as blocks.
constexpr double kDeviationsChange = 3.5;  ///< There is one look for each window.
constexpr double kElasticity = 0.12;       ///< Less gain for the limit's growth is no gain.
constexpr double kLossSure = 0.08;         ///< kLoss may be this much, with 95 %.
constexpr double kLossShare = 0.2;
constexpr double kMuch = 0.08;         ///< Of throughput.
constexpr std::uint64_t kRecent = 14;  ///< Windows for which evidence on other limits holds.
constexpr double kKept = 8;            ///< Evidence on one limit fades beyond so many windows.
constexpr double kEnoughForBest = CompletionWindow::kBlocks * CompletionWindow::kSmallestBlock;

double log_ratio(std::size_t a, std::size_t b) {
  return std::log(static_cast<double>(a) / static_cast<double>(b));
}
/// The gain that is worth a higher limit.
double enough(std::size_t limit, std::size_t base) {
  return std::max(kElasticity * log_ratio(limit, base), kLoss);
}
/// The uncertainty that a lower limit is worth: the more, the lower it is.
double loss_sure(std::size_t limit, std::size_t base) {
  return std::max(kLossSure, kLossShare * log_ratio(base, limit));
}

}  // namespace

void KneeEvidence::add(std::size_t limit, const CompletionWindow& window,
                       std::uint64_t number) noexcept {
  levels_.learn_scatter(window.blocks(), CompletionWindow::kBlocks);
  levels_.add(limit, window.sum(), number, kKept * static_cast<double>(window.size()));
}

KneeEvidence::Verdict KneeEvidence::judge(std::size_t limit, std::size_t base) const noexcept {
  const Level* tried = levels_.find(limit);
  const Level* against = levels_.find(base);
  if (tried == nullptr || against == nullptr) return Verdict::kUnclear;
  if (limit > base) {
    const Comparison gain = levels_.compare(tried->tally, against->tally, kDeviations);
    if (gain.low > 0 && gain.value > enough(limit, base)) return Verdict::kYes;
    return gain.high < enough(limit, base) ? Verdict::kNo : Verdict::kUnclear;
  }
  // Against the best limit lately, lest many small losses add up.
  const Level* best = levels_.best(kEnoughForBest);
  if (best != nullptr && best->limit > limit) against = best;
  const Comparison gain = levels_.compare(tried->tally, against->tally, kDeviations);
  if (gain.value > -kLoss && gain.low > -loss_sure(limit, base)) return Verdict::kYes;
  return gain.high < -kLoss ? Verdict::kNo : Verdict::kUnclear;
}

KneeEvidence::Verdict KneeEvidence::judge_recent(std::size_t limit, std::size_t base,
                                                 std::uint64_t number) const noexcept {
  const Level* known = levels_.find(limit);
  const bool recent = known != nullptr && number - known->window < kRecent;
  return recent ? judge(limit, base) : Verdict::kUnclear;
}

KneeEvidence::Verdict KneeEvidence::judge_early(std::size_t limit, std::size_t base,
                                                const CompletionWindow& window,
                                                std::uint64_t number) noexcept {
  const Level* against = levels_.find(base);
  if (against == nullptr) return Verdict::kUnclear;
  const Tally sofar = window.sum();
  const Comparison gain = levels_.compare(sofar, against->tally, kDeviationsEarly);
  const bool helps = limit > base && gain.low > 2 * enough(limit, base);
  if (!helps && gain.high >= -kMuch) return Verdict::kUnclear;
  levels_.add(limit, sofar, number, kKept * static_cast<double>(window.size()));
  return helps ? Verdict::kYes : Verdict::kNo;
}

Comparison KneeEvidence::compare(std::size_t limit, std::size_t base) const noexcept {
  const Level* tried = levels_.find(limit);
  const Level* against = levels_.find(base);
  if (tried == nullptr || against == nullptr) return {};
  return levels_.compare(tried->tally, against->tally, kDeviations);
}

Comparison KneeEvidence::change(const CompletionWindow& window, std::size_t base) const noexcept {
  const Level* known = levels_.find(base);
  if (known == nullptr) return {};
  const Comparison change = levels_.compare(window.sum(), known->tally, kDeviationsChange);
  const bool sure = std::abs(change.value) > kMuch && (change.low > 0 || change.high < 0);
  return sure ? change : Comparison{};
}

bool KneeEvidence::is_surprise(const Comparison& gain) noexcept {
  return gain.value > kMuch && gain.low > 0;
}

bool KneeEvidence::base_is_weaker(std::size_t limit, std::size_t base) const noexcept {
  const Level* tried = levels_.find(limit);
  const Level* against = levels_.find(base);
  return tried != nullptr && against != nullptr && tried->tally.count > 1.5 * against->tally.count;
}

}  // namespace streamgate::policies::internal

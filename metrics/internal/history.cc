// SPDX-License-Identifier: Apache-2.0
#include <streamgate/metrics/internal/history.h>

#include <algorithm>

namespace streamgate::metrics::internal {
namespace {

using executor::Outcome;
using policies::index_of;
using policies::kAllOpClasses;
using policies::OpClass;
using policies::OpClassSet;

/// As Prometheus's histogram_quantile: evenly spread within a bucket; the last bound stands for
/// what is above it.
template <typename Counts>
std::optional<double> quantile(const Counts& counts, double share) {
  std::uint64_t all = 0;
  for (const std::uint64_t count : counts) all += count;
  if (all == 0) return std::nullopt;
  const auto seconds = [](std::size_t bound) {
    return std::chrono::duration<double>(executor::duration_bounds()[bound]).count();
  };
  const double wanted = share * static_cast<double>(all);
  double below = 0;
  for (std::size_t i = 0; i < executor::kDurationBounds; ++i) {
    const double here = static_cast<double>(counts[i]);
    if (below + here >= wanted && here > 0) {
      const double from = i == 0 ? 0 : seconds(i - 1);
      return from + (seconds(i) - from) * (wanted - below) / here;
    }
    below += here;
  }
  return seconds(executor::kDurationBounds - 1);
}

}  // namespace

History::Totals History::totals_of(executor::Clock::time_point now,
                                   const executor::Snapshot& snapshot) {
  Totals totals{.time = now};
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    const executor::LaneSnapshot& counted = snapshot.lanes[lane];
    const auto ended = [&](Outcome outcome) { return counted.outcomes[index_of(outcome)]; };
    totals.ok += ended(Outcome::kOk);
    totals.failed += ended(Outcome::kFailed) + ended(Outcome::kWorkerDied);
    totals.refused += ended(Outcome::kExpired);
    for (std::size_t i = 0; i < executor::kOutcomes; ++i) {
      if (executor::is_rejected(static_cast<Outcome>(i))) totals.refused += counted.outcomes[i];
    }
    for (const OpClass op_class : kAllOpClasses) {
      if (OpClassSet::from_lane(lane).contains(op_class)) {
        totals.ok_by_class[index_of(op_class)] += ended(Outcome::kOk);
      }
    }
    for (std::size_t i = 0; i < totals.wait.size(); ++i) {
      totals.wait[i] += counted.wait.counts[i];
      totals.run[i] += counted.run.counts[i];
    }
  }
  return totals;
}

void History::add(executor::Clock::time_point now, const executor::Snapshot& snapshot) {
  Totals totals = totals_of(now, snapshot);
  if (!totals_.empty() && totals.ok < totals_.back().ok) {
    points_.clear();
    totals_.clear();
    sum_ = {};
    summed_ = 0;
  }
  sum_.queued += static_cast<double>(snapshot.queue.tasks);
  sum_.at_work += static_cast<double>(snapshot.arena.tickets);
  sum_.workers_busy += static_cast<double>(
      snapshot.workers.states[static_cast<std::size_t>(executor::WorkerState::kBusy)]);
  for (std::size_t i = 0; i < policies::kOpClasses; ++i) {
    sum_.gates[i].in_use += static_cast<double>(snapshot.gates[i].in_use);
    sum_.gates[i].limit += static_cast<double>(snapshot.gates[i].limit);
  }
  ++summed_;
  if (totals_.empty()) {
    totals_.push_back(totals);
    return;
  }
  const Totals& before = totals_.back();
  if (now - before.time < options_.every) return;

  const double seconds = std::chrono::duration<double>(now - before.time).count();
  const auto rate = [&](std::uint64_t from, std::uint64_t to) {
    // A snapshot is torn: of two counters one may be younger. It never goes back by much.
    return to > from ? static_cast<double>(to - from) / seconds : 0;
  };
  const double snapshots = static_cast<double>(summed_);
  HistoryPoint point{.end = now,
                     .queued = sum_.queued / snapshots,
                     .workers_busy = sum_.workers_busy / snapshots,
                     .at_work = sum_.at_work / snapshots,
                     .ok_per_s = rate(before.ok, totals.ok),
                     .refused_per_s = rate(before.refused, totals.refused),
                     .failed_per_s = rate(before.failed, totals.failed)};
  for (std::size_t i = 0; i < policies::kOpClasses; ++i) {
    point.gates[i] = {.in_use = sum_.gates[i].in_use / snapshots,
                      .limit = sum_.gates[i].limit / snapshots,
                      .ok_per_s = rate(before.ok_by_class[i], totals.ok_by_class[i])};
  }
  points_.push_back(point);
  totals_.push_back(totals);
  sum_ = {};
  summed_ = 0;
  if (points_.size() > options_.kept) {
    points_.pop_front();
    totals_.pop_front();
  }
}

Quantiles History::recent(Counts Totals::*counts) const {
  if (totals_.size() < 2) return {};
  const Totals& last = totals_.back();
  const auto first = std::find_if(totals_.begin(), totals_.end(), [&](const Totals& each) {
    return last.time - each.time <= options_.recent;
  });
  Counts during{};
  for (std::size_t i = 0; i < during.size(); ++i) {
    const std::uint64_t from = ((*first).*counts)[i];
    const std::uint64_t to = (last.*counts)[i];
    during[i] = to > from ? to - from : 0;
  }
  return {.p50 = quantile(during, 0.5), .p99 = quantile(during, 0.99)};
}

}  // namespace streamgate::metrics::internal

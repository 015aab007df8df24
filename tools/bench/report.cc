// SPDX-License-Identifier: Apache-2.0
//
// Medians, ratios and spreads of what was measured.
#include "bench/report.h"

#include <algorithm>
#include <cmath>

namespace streamgate::tools {
namespace {

double quantile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size())) - 1;
  return sorted[static_cast<std::size_t>(std::max(0.0, rank))];
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75)};
}

Spread ratio_of(const std::vector<double>& of, const std::vector<double>& over) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < of.size(); ++i) ratios.push_back(of[i] / std::max(over[i], 1e-9));
  return spread_of(std::move(ratios));
}

std::optional<double> settled_seconds(const BenchRun& run) {
  const double reached = 0.9 * spread_of(run.adaptive.per_second).median;
  const std::vector<double>& slices = run.cold_start;
  std::optional<double> settled;
  for (std::size_t i = 0; i + 1 < slices.size(); ++i) {
    const bool good = (slices[i] + slices[i + 1]) / 2 >= reached;
    if (!good) {
      settled.reset();
    } else if (!settled) {
      settled = static_cast<double>(i) * run.cold_slice_seconds;
    }
  }
  return settled;
}

std::optional<double> cold_seconds_to_best(const BenchRun& run) {
  const double reached = kGoalOfBest * spread_of(run.best_again.per_second).median;
  for (std::size_t i = 0; i < run.cold_start.size(); ++i) {
    const auto from = run.cold_start.begin() + static_cast<std::ptrdiff_t>(i);
    if (*from >= reached && spread_of({from, run.cold_start.end()}).median >= reached) {
      return static_cast<double>(i) * run.cold_slice_seconds;
    }
  }
  return std::nullopt;
}

}  // namespace streamgate::tools

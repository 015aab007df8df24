// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/statistics.h>

#include <algorithm>
#include <cmath>

namespace streamgate::executor::probe {
namespace {

/// The probability of at most `failures` in `trials`, each of which fails with p. The terms are
/// added as logarithms: p^k alone would vanish.
double at_most(std::uint64_t failures, std::uint64_t trials, double p) noexcept {
  const auto n = static_cast<double>(trials);
  double sum = 0;
  for (std::uint64_t i = 0; i <= failures; ++i) {
    const auto k = static_cast<double>(i);
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) +
                    k * std::log(p) + (n - k) * std::log1p(-p));
  }
  return sum;
}

}  // namespace

double failure_probability_upper(std::uint64_t trials, std::uint64_t failures,
                                 double confidence) noexcept {
  if (failures >= trials) return 1;
  if (failures == 0) {
    return -std::expm1(std::log1p(-confidence) / static_cast<double>(trials));
  }
  double low = static_cast<double>(failures) / static_cast<double>(trials);
  double high = 1;
  for (int halving = 0; halving < 60; ++halving) {
    const double middle = (low + high) / 2;
    (at_most(failures, trials, middle) > 1 - confidence ? low : high) = middle;
  }
  return high;
}

std::uint64_t trials_for(double upper, double confidence) noexcept {
  return static_cast<std::uint64_t>(std::ceil(std::log1p(-confidence) / std::log1p(-upper)));
}

std::optional<std::size_t> knee_of(const std::vector<policies::Throughput>& throughput) noexcept {
  constexpr double kWithin = 0.95;
  double best = 0;
  for (const policies::Throughput& at : throughput) best = std::max(best, at.per_second);
  std::optional<std::size_t> knee;
  for (const policies::Throughput& at : throughput) {
    if (at.per_second >= kWithin * best && (!knee || at.threads < *knee)) knee = at.threads;
  }
  return knee;
}

}  // namespace streamgate::executor::probe

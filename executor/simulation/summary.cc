// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/simulation/summary.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace streamgate::executor::simulation {

Times times_of(std::vector<double>& values) {
  if (values.empty()) return {};
  double sum = 0;
  for (const double value : values) sum += value;
  const auto at = [&values](double quantile) {
    const auto rank = static_cast<std::size_t>(
        std::ceil(quantile * static_cast<double>(values.size())) - 1);
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank),
                     values.end());
    return values[rank];
  };
  return {sum / static_cast<double>(values.size()), at(0.5), at(0.99)};
}

std::optional<double> settled_since(const std::vector<Sample>& series) {
  if (series.size() < 4) return std::nullopt;
  std::vector<std::size_t> last;
  for (std::size_t i = series.size() * 3 / 4; i < series.size(); ++i) {
    last.push_back(series[i].limit);
  }
  std::nth_element(last.begin(), last.begin() + static_cast<std::ptrdiff_t>(last.size() / 2),
                   last.end());
  const auto median = static_cast<double>(last[last.size() / 2]);
  const double near = std::max(1.0, median / 4);
  std::optional<double> since;
  std::size_t away = 0;
  for (std::size_t i = series.size(); i > 0; --i) {
    if (std::abs(static_cast<double>(series[i - 1].limit) - median) > near) {
      ++away;
    } else if (away * 10 <= series.size() - i + 1) {
      since = series[i - 1].time_s;
    }
  }
  return since;
}

}  // namespace streamgate::executor::simulation

// SPDX-License-Identifier: Apache-2.0
#include "rounds.h"

#include "process_threads.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace digits {
namespace {

double seconds(const Measurement& measurement) {
  return std::chrono::duration<double>(measurement.duration).count();
}

double images_rate(const Measurement& measurement) {
  return static_cast<double>(measurement.images) / seconds(measurement);
}

Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return {
      .median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2,
      .minimum = values.front(),
      .maximum = values.back()};
}

template <typename Rate>
Spread spread_over_rounds(const Series& series, Rate rate) {
  std::vector<double> values;
  std::ranges::transform(series.rounds, std::back_inserter(values), rate);
  return spread_of(std::move(values));
}

}  // namespace

std::vector<Series> take_turns(const std::vector<Contender>& contenders, std::size_t rounds,
                               const OnTurn& on_turn) {
  std::vector<Series> all;
  for (const Contender& contender : contenders)
    all.push_back({.contender = contender, .rounds = {}});
  constexpr std::chrono::milliseconds kPatience{200};
  std::size_t idle = process_threads();
  for (std::size_t round = 1; round <= rounds; ++round) {
    for (Series& series : all) {
      on_turn(round, series.contender);
      // Those that do not go are here to stay, as the executor's are, once they have been needed.
      if (!wait_for_threads_to_end(idle, kPatience)) idle = process_threads();
      series.rounds.push_back(measure(series.contender.way, series.contender.load));
    }
  }
  return all;
}

Spread images_per_second(const Series& series) { return spread_over_rounds(series, images_rate); }

Spread requests_per_second(const Series& series) {
  return spread_over_rounds(series, [](const Measurement& measurement) {
    return static_cast<double>(measurement.latencies.size()) / seconds(measurement);
  });
}

Spread speedup(const Series& of, const Series& over) {
  std::vector<double> ratios;
  std::ranges::transform(
      of.rounds, over.rounds, std::back_inserter(ratios),
      [](const Measurement& a, const Measurement& b) { return images_rate(a) / images_rate(b); });
  return spread_of(std::move(ratios));
}

std::chrono::nanoseconds latency_quantile(const Series& series, double share) {
  std::vector<std::chrono::nanoseconds> all;
  for (const Measurement& round : series.rounds) {
    all.insert(all.end(), round.latencies.begin(), round.latencies.end());
  }
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(all.size())));
  const auto nth = all.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::ranges::nth_element(all, nth);
  return *nth;
}

std::size_t peak_threads(const Series& series) {
  std::size_t peak = 0;
  for (const Measurement& round : series.rounds) peak = std::max(peak, round.peak_threads);
  return peak;
}

std::vector<std::int64_t> answers(const Series& series) {
  std::vector<std::int64_t> merged = series.rounds.front().answers;
  for (const Measurement& round : series.rounds) {
    for (std::size_t i = 0; i < merged.size(); ++i) {
      if (merged[i] != round.answers[i]) merged[i] = kDisagreement;
    }
  }
  return merged;
}

}  // namespace digits

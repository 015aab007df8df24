// SPDX-License-Identifier: Apache-2.0
#include "rounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <vector>

namespace digits {
namespace {

using namespace std::chrono_literals;

Measurement round_of(std::size_t images, std::chrono::nanoseconds duration,
                     std::vector<std::int64_t> answers = {}) {
  Measurement measurement;
  measurement.images = images;
  measurement.duration = duration;
  measurement.answers = std::move(answers);
  return measurement;
}

Series series_of(std::vector<Measurement> rounds) {
  return {.contender = {}, .rounds = std::move(rounds)};
}

TEST(Rounds, TheRateIsTheMedianOfTheRoundsWithTheirExtremes) {
  const Series odd = series_of({round_of(300, 1s), round_of(100, 1s), round_of(100, 500ms)});
  EXPECT_DOUBLE_EQ(images_per_second(odd).median, 200);
  EXPECT_DOUBLE_EQ(images_per_second(odd).minimum, 100);
  EXPECT_DOUBLE_EQ(images_per_second(odd).maximum, 300);
  const Series even = series_of({round_of(300, 1s), round_of(100, 1s)});
  EXPECT_DOUBLE_EQ(images_per_second(even).median, 200);
}

TEST(Rounds, TheSpeedupComparesRoundWithRound) {
  // The second round was slow for both: 2 and 2, where ratios of medians would mix the rounds.
  const Series of = series_of({round_of(400, 1s), round_of(40, 1s)});
  const Series over = series_of({round_of(200, 1s), round_of(20, 1s)});
  EXPECT_DOUBLE_EQ(speedup(of, over).minimum, 2);
  EXPECT_DOUBLE_EQ(speedup(of, over).maximum, 2);
}

TEST(Rounds, LatencyQuantilesAreByNearestRankOverAllRounds) {
  Series series = series_of({Measurement{}, Measurement{}});
  for (int i = 100; i > 0; --i) {
    series.rounds[static_cast<std::size_t>(i % 2)].latencies.emplace_back(i);
  }
  EXPECT_EQ(latency_quantile(series, 0.50), 50ns);
  EXPECT_EQ(latency_quantile(series, 0.99), 99ns);
  EXPECT_EQ(latency_quantile(series, 1.0), 100ns);
}

TEST(Rounds, AnAnswerThatChangesBetweenRoundsIsADisagreement) {
  const Series series =
      series_of({round_of(1, 1s, {1, 2, kDisagreement}), round_of(1, 1s, {1, 3, 4})});
  EXPECT_EQ(answers(series), (std::vector<std::int64_t>{1, kDisagreement, kDisagreement}));
}

TEST(Rounds, TurnsAreTakenRoundByRound) {
  const auto contender = [](const char* name) {
    return Contender{
        .way = {
            .name = name,
            .prepare_thread = [] {},
            .answer = [](std::size_t, std::span<std::int64_t> all) { std::ranges::fill(all, 0); }},
        .load = {.clients = 2, .batch = 1, .digits = 2, .duration = 1us}};
  };
  std::string order;
  const std::vector<Series> all = take_turns({contender("a"), contender("b")}, 3,
                                             [&](std::size_t round, const Contender& next) {
                                               order += next.way.name + std::to_string(round) + ' ';
                                             });
  EXPECT_EQ(order, "a1 b1 a2 b2 a3 b3 ");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1].contender.way.name, "b");
  EXPECT_EQ(all[1].rounds.size(), 3U);
}

}  // namespace
}  // namespace digits

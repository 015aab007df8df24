// SPDX-License-Identifier: Apache-2.0
//
// That the plants are what the suite of limit policies takes them for, and that its truth about them
// is the simulator's.
#include "plants.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>

namespace streamgate::simulation_test {
namespace {

TEST(Plants, AreTheSameForTheSameSeed) {
  const DrawnPlant a = draw_plant(17);
  const DrawnPlant b = draw_plant(17);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.scenario.duration_s, b.scenario.duration_s);
  EXPECT_EQ(a.scenario.plant.service_s, b.scenario.plant.service_s);
  EXPECT_NE(a.scenario.plant.service_s, draw_plant(18).scenario.plant.service_s);
}

TEST(Plants, CoverWhatTheyAreToCover) {
  std::map<std::string, int> kinds;
  std::size_t smallest = 1000;
  std::size_t largest = 0;
  double fastest = 10;
  double slowest = 0;
  int stepped = 0;
  int open = 0;
  int heavy = 0;
  for (std::uint64_t seed = kReportSeeds.first; seed < kReportSeeds.end; ++seed) {
    const DrawnPlant plant = draw_plant(seed);
    const Best best = best_of(plant.last_plant(), plant.scenario.ceiling);
    ++kinds[plant.kind];
    smallest = std::min(smallest, best.smallest);
    largest = std::max(largest, best.smallest);
    fastest = std::min(fastest, plant.scenario.plant.service_s);
    slowest = std::max(slowest, plant.scenario.plant.service_s);
    stepped += plant.step_from_s > 0 ? 1 : 0;
    open += plant.scenario.load.kind == simulation::LoadKind::kOpen ? 1 : 0;
    heavy += plant.last_plant().heavy_share > 0 ? 1 : 0;
  }
  EXPECT_EQ(kinds.size(), 4U);
  for (const auto& [kind, count] : kinds) EXPECT_GE(count, 30) << kind;
  EXPECT_EQ(smallest, 1U);
  EXPECT_GE(largest, 180U);
  EXPECT_LT(fastest, 50e-6);
  EXPECT_GT(slowest, 1);
  EXPECT_EQ(stepped, 50);
  EXPECT_GE(open, 40);
  EXPECT_GE(heavy, 30);
}

TEST(Plants, TheirTruthIsWhatTheSimulatorMeasures) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    DrawnPlant plant = draw_plant(seed);
    plant.scenario.plant_stages.clear();
    const Best best = best_of(plant.scenario.plant, plant.scenario.ceiling);
    for (const std::size_t limit : {best.smallest, std::min<std::size_t>(256, best.smallest * 3 / 2)}) {
      const double expected = throughput_at(plant.scenario.plant, limit);
      plant.scenario.initial_limit = limit;
      plant.scenario.duration_s = 30'000 / expected;
      if (plant.scenario.load.kind == simulation::LoadKind::kOpen) {
        plant.scenario.load.stages.front().seconds = plant.scenario.duration_s;
      }
      const auto fixed = policies::make_limit_policy(
          {.name = "fixed", .initial = limit, .ceiling = plant.scenario.ceiling});
      const simulation::Result run = simulation::simulate(
          plant.scenario, *fixed,
          {.seed = seed, .samples = 1, .measure_from_s = 0.1 * plant.scenario.duration_s});
      EXPECT_NEAR(run.throughput_per_s / expected, 1, 0.05) << seed << " at " << limit;
      EXPECT_NEAR(run.latency_s.mean * expected / static_cast<double>(limit), 1, 0.05) << seed;
    }
  }
}

}  // namespace
}  // namespace streamgate::simulation_test

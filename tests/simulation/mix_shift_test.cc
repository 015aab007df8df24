// SPDX-License-Identifier: Apache-2.0
//
// A change of mix is not congestion: when requests become heavier, each takes longer and fewer are
// completed, and the best limit is where it was. A policy that takes the one for the other gives
// throughput away; that this suite would find such a policy out is a test of its own.
#include <streamgate/executor/simulation/simulation.h>
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "plants.h"

namespace streamgate::simulation_test {
namespace {

using simulation::Plant;
using simulation::PlantKind;
using simulation::Result;
using simulation::Sample;
using simulation::Scenario;

constexpr double kSeconds = 240;
constexpr double kSettled = 40;  ///< From then on a policy is judged.

/// As many as 16 at once are served without delay, whatever the mix is.
Plant light() {
  Plant plant{.kind = PlantKind::kPower, .service_s = 0.01, .jitter = 0.1};
  plant.knee = 16;
  plant.exponent = 1.2;
  return plant;
}
/// Three in ten take eight times as long: 3.1 times as much work.
Plant heavy() {
  Plant plant = light();
  plant.heavy_share = 0.3;
  plant.heavy_factor = 8;
  return plant;
}

/// The mix becomes the other one every so many seconds.
Scenario shifting(double every_s) {
  Scenario scenario{.duration_s = kSeconds, .initial_limit = 16, .ceiling = 128};
  scenario.load = {.kind = simulation::LoadKind::kClosed, .clients = 256};
  scenario.plant = light();
  bool is_heavy = true;
  for (double from = every_s; from < kSeconds; from += every_s) {
    scenario.plant_stages.push_back({.from_s = from, .plant = is_heavy ? heavy() : light()});
    is_heavy = !is_heavy;
  }
  return scenario;
}

struct Judged {
  double of_best = 0;  ///< Completions, over those of a limit of 16 on the same scenario.
  double mean_limit = 0;
  double lowest_mean = 0;  ///< Of the mean limits over ten seconds each.
};

Result play(const Scenario& scenario, std::string_view policy) {
  const auto made = policies::make_limit_policy(
      {.name = policy, .initial = scenario.initial_limit, .ceiling = scenario.ceiling});
  return simulation::simulate(
      scenario, *made,
      {.seed = 7, .samples = static_cast<std::size_t>(kSeconds * 4), .measure_from_s = kSettled});
}

Judged judge(const Scenario& scenario, std::string_view policy) {
  const Result run = play(scenario, policy);
  Judged judged{.of_best = run.throughput_per_s / play(scenario, "fixed").throughput_per_s,
                .mean_limit = run.limit_mean,
                .lowest_mean = 1e9};
  for (double from = kSettled; from + 10 <= kSeconds; from += 10) {
    double sum = 0;
    double count = 0;
    for (const Sample& sample : run.series) {
      if (sample.time_s < from || sample.time_s >= from + 10) continue;
      sum += static_cast<double>(sample.limit);
      count += 1;
    }
    judged.lowest_mean = std::min(judged.lowest_mean, sum / count);
  }
  return judged;
}

/// How often the mix changes, and what of the best is promised then: each change is noticed, and
/// what that costs in trials counts the more, the more often it happens.
struct Promise {
  double every_s = 0;
  double of_best = 0;
};
bool keeps(const Promise& promise, const Judged& judged) {
  return judged.of_best >= promise.of_best && judged.lowest_mean >= 0.65 * 16 &&
         judged.mean_limit <= 1.3 * 16;
}

class MixShift : public ::testing::TestWithParam<Promise> {};

TEST_P(MixShift, KneeKeepsItsLimitWhenTheMixChanges) {
  const Judged judged = judge(shifting(GetParam().every_s), "knee");
  EXPECT_TRUE(keeps(GetParam(), judged))
      << judged.of_best << " of the best; mean limit " << judged.mean_limit << ", of ten seconds "
      << judged.lowest_mean;
}

TEST_P(MixShift, APolicyThatGoesByLatencyDoesNot) {
  for (const std::string_view policy : {"vegas", "gradient2"}) {
    const Judged judged = judge(shifting(GetParam().every_s), policy);
    EXPECT_FALSE(keeps(GetParam(), judged))
        << policy << ": " << judged.of_best << " of the best; mean limit " << judged.mean_limit
        << ", of ten seconds " << judged.lowest_mean;
  }
}

INSTANTIATE_TEST_SUITE_P(Every, MixShift,
                         ::testing::Values(Promise{40, 0.95}, Promise{10, 0.93}, Promise{2, 0.84}));

TEST(MixShiftPlants, AreAmongTheRandomPlants) {
  std::size_t shifts = 0;
  for (std::uint64_t seed = kReportSeeds.first; seed < kReportSeeds.end; ++seed) {
    const DrawnPlant plant = draw_plant(seed);
    if (plant.step_from_s == 0) continue;
    const Plant& before = plant.scenario.plant;
    const Plant& after = plant.last_plant();
    if (before.service_s != after.service_s || before.heavy_share == after.heavy_share) continue;
    ++shifts;
    EXPECT_EQ(best_of(before, plant.scenario.ceiling).smallest,
              best_of(after, plant.scenario.ceiling).smallest)
        << "a mix moves no knee of plant " << seed;
  }
  EXPECT_GE(shifts, 8U);
}

}  // namespace
}  // namespace streamgate::simulation_test

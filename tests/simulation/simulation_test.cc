// SPDX-License-Identifier: Apache-2.0
//
// What the simulator promises: plants, loads and faults as documented, on a clock of its own.
#include <streamgate/executor/simulation/arrivals.h>
#include <streamgate/executor/simulation/simulation.h>
#include <streamgate/executor/simulation/summary.h>
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor::simulation {
namespace {

Result play(const Scenario& scenario, std::string_view policy = "fixed", const Options& options = {}) {
  const auto made = policies::make_limit_policy(
      {.name = policy, .initial = scenario.initial_limit, .ceiling = scenario.ceiling});
  return simulate(scenario, *made, options);
}

/// Ten at a time, 0.1 s each, without jitter: 100 a second.
Scenario ten_at_a_time() {
  Scenario scenario{.duration_s = 10, .initial_limit = 10, .ceiling = 64};
  scenario.load = {.kind = LoadKind::kClosed, .clients = 64};
  scenario.plant = {.kind = PlantKind::kSharing, .service_s = 0.1, .threads = 12};
  return scenario;
}

std::string error_of(const Scenario& scenario) {
  try {
    check(scenario);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(Simulation, TheSameSeedGivesTheSameRunAndAnotherSeedAnother) {
  Scenario scenario = ten_at_a_time();
  scenario.plant.jitter = 0.5;
  const Result a = play(scenario, "knee", {.seed = 7});
  const Result b = play(scenario, "knee", {.seed = 7});
  const Result c = play(scenario, "knee", {.seed = 8});
  EXPECT_EQ(a.completed, b.completed);
  EXPECT_EQ(a.latency_s.mean, b.latency_s.mean);
  EXPECT_EQ(a.limit_mean, b.limit_mean);
  EXPECT_NE(a.latency_s.mean, c.latency_s.mean);
}

TEST(Simulation, FixedHoldsTheInitialLimitAndNeverPassesIt) {
  const Result run = play(ten_at_a_time());
  EXPECT_EQ(run.limit_min, 10U);
  EXPECT_EQ(run.limit_max, 10U);
  EXPECT_EQ(run.in_flight_max, 10U);
  EXPECT_NEAR(run.in_flight_mean, 10, 0.01);
}

TEST(Simulation, AClosedLoadKeepsTheLimitFullAndWaitsTheRestOfTheRound) {
  const Result run = play(ten_at_a_time());
  EXPECT_NEAR(run.throughput_per_s, 100, 1);
  EXPECT_NEAR(run.latency_s.mean, 0.1, 1e-9);
  // Little's law: 54 wait at 100 a second.
  EXPECT_NEAR(run.wait_s.p50, 0.54, 0.06);
  EXPECT_EQ(run.offered, run.completed + 64);
}

TEST(Simulation, SharedThreadsSlowEveryoneAlike) {
  Scenario scenario = ten_at_a_time();
  scenario.initial_limit = 24;
  const Result run = play(scenario);
  EXPECT_NEAR(run.throughput_per_s, 120, 3);
  EXPECT_NEAR(run.latency_s.mean, 0.2, 1e-6);
}

TEST(Simulation, ADelayPlantTakesWhatItsFormulaSays) {
  Scenario scenario = ten_at_a_time();
  scenario.initial_limit = 12;
  scenario.plant = {.kind = PlantKind::kDelay, .service_s = 0.1, .scale = 0.05, .knee = 10, .base = 1.1};
  scenario.load.clients = 12;
  // All twelve are admitted in turn at first; from the second round on, each finds eleven others.
  const Result run = play(scenario, "fixed", {.measure_from_s = 2});
  EXPECT_NEAR(run.latency_s.p50, 0.1 * (1 + 11 * 0.05 + std::pow(1.1, 2) - 1), 1e-6);
}

TEST(Simulation, APowerPlantTakesWhatItsFormulaSays) {
  Scenario scenario = ten_at_a_time();
  scenario.initial_limit = 16;
  scenario.load.clients = 16;
  scenario.plant = {.kind = PlantKind::kPower, .service_s = 0.01, .knee = 8, .exponent = 1.5};
  const Result run = play(scenario, "fixed", {.measure_from_s = 2});
  EXPECT_NEAR(run.latency_s.p50, 0.01 * std::pow(2, 1.5), 1e-6);
}

TEST(Simulation, JitterIsExponentialWithItsMean) {
  Scenario scenario = ten_at_a_time();
  scenario.duration_s = 500;
  scenario.initial_limit = 1;
  scenario.plant = {.kind = PlantKind::kPower, .service_s = 0.01, .jitter = 1, .exponent = 0};
  const Result run = play(scenario);
  EXPECT_NEAR(run.latency_s.mean, 0.02, 0.0005);
  EXPECT_NEAR(run.latency_s.p50, 0.01 * (1 + std::log(2)), 0.0005);
  EXPECT_NEAR(run.latency_s.p99, 0.01 * (1 + std::log(100)), 0.003);
}

TEST(Simulation, APlantStageChangesWhatIsAdmittedFromThenOn) {
  Scenario scenario = ten_at_a_time();
  scenario.plant_stages = {{.from_s = 5, .plant = scenario.plant}};
  scenario.plant_stages[0].plant.service_s = 0.05;
  EXPECT_NEAR(static_cast<double>(play(scenario).completed), 5 * 100 + 5 * 200, 12);
}

TEST(Arrivals, ComeAtTheRateOfTheirStage) {
  const Load load{.kind = LoadKind::kOpen,
                  .arrival = Arrival::kUniform,
                  .stages = {{10, 100, 100}, {10, 0, 0}, {10, 100, 300}}};
  Random random(1);
  Arrivals arrivals(load);
  std::vector<int> in_stage(3);
  double last = 0;
  while (const std::optional<double> at = arrivals.next(random)) {
    EXPECT_GE(*at, last);
    last = *at;
    ++in_stage[static_cast<std::size_t>(*at / 10.0001)];
  }
  EXPECT_NEAR(in_stage[0], 1000, 1);
  EXPECT_LE(in_stage[1], 1);
  EXPECT_NEAR(in_stage[2], 2000, 2);
}

TEST(Arrivals, OfPoissonScatterAsTheirNumber) {
  double sum = 0;
  double squares = 0;
  constexpr int kRuns = 400;
  const Load load{.kind = LoadKind::kOpen, .arrival = Arrival::kPoisson, .stages = {{1, 100, 100}}};
  for (int seed = 0; seed < kRuns; ++seed) {
    Random random(static_cast<std::uint64_t>(seed));
    Arrivals arrivals(load);
    double count = 0;
    while (arrivals.next(random)) ++count;
    sum += count;
    squares += count * count;
  }
  const double mean = sum / kRuns;
  EXPECT_NEAR(mean, 100, 2);
  EXPECT_NEAR((squares / kRuns - mean * mean) / mean, 1, 0.25);
}

TEST(Arrivals, EndWithTheirNumberOfRequests) {
  Scenario scenario = ten_at_a_time();
  scenario.load = {.kind = LoadKind::kOpen, .arrival = Arrival::kUniform, .requests = 5,
                   .stages = {{10, 100, 100}}};
  const Result run = play(scenario);
  EXPECT_EQ(run.offered, 5U);
  EXPECT_EQ(run.completed, 5U);
}

TEST(Simulation, WhatTheQueueDoesNotHoldIsRejected) {
  Scenario scenario = ten_at_a_time();
  scenario.queue = 20;
  scenario.load = {.kind = LoadKind::kOpen, .arrival = Arrival::kUniform, .stages = {{10, 200, 200}}};
  const Result run = play(scenario);
  EXPECT_NEAR(static_cast<double>(run.rejected), 2000 - 1000 - 20, 25);
  EXPECT_NEAR(run.wait_s.p99, 0.2, 0.05);
}

TEST(Simulation, AQueueOfNoneAdmitsAtOnceOrRejects) {
  Scenario scenario = ten_at_a_time();
  scenario.queue = 0;
  scenario.load = {.kind = LoadKind::kOpen, .arrival = Arrival::kUniform, .stages = {{10, 200, 200}}};
  const Result run = play(scenario);
  EXPECT_EQ(run.wait_s.p99, 0);
  EXPECT_NEAR(static_cast<double>(run.completed), 1000, 25);
}

TEST(Simulation, AboveItsWidthThePlantRefusesAtOnce) {
  Scenario scenario = ten_at_a_time();
  scenario.reject_above = 5;
  const Result above = play(scenario);
  EXPECT_GT(above.rejected, 100U);
  EXPECT_LT(above.throughput_per_s, 50);
  scenario.initial_limit = 5;
  const Result at = play(scenario);
  EXPECT_EQ(at.rejected, 0U);
  EXPECT_NEAR(at.throughput_per_s, 50, 1);
}

TEST(Simulation, AboveItsWidthThePlantNeverAnswersAndTheTimeoutEndsIt) {
  Scenario scenario = ten_at_a_time();
  scenario.timeout_s = 1;
  scenario.drop_above = 5;
  // What is never answered keeps the others above the width, too.
  const Result above = play(scenario);
  EXPECT_GT(above.timed_out, 40U);
  EXPECT_LT(above.throughput_per_s, 5);
  scenario.initial_limit = 5;
  const Result at = play(scenario);
  EXPECT_EQ(at.timed_out, 0U);
  EXPECT_NEAR(at.throughput_per_s, 50, 1);
}

TEST(Simulation, AboveItsWidthThePlantDiesAndTheRunIsOver) {
  Scenario scenario = ten_at_a_time();
  scenario.crash_above = 9;
  const Result run = play(scenario);
  EXPECT_TRUE(run.crashed);
  EXPECT_EQ(run.ended_s, 0);
  scenario.crash_above = 10;
  EXPECT_FALSE(play(scenario).crashed);
}

TEST(Simulation, ASlowRequestIsEndedByTheTimeoutAndFreesItsShare) {
  Scenario scenario = ten_at_a_time();
  scenario.timeout_s = 0.15;
  scenario.initial_limit = 24;  // Each would take 0.2 s.
  const Result run = play(scenario);
  EXPECT_GT(run.timed_out, 0U);
  EXPECT_LE(run.in_flight_max, 24U);
}

TEST(Simulation, SixtySecondsTakeLessThanASecondOfTheProcessor) {
  Scenario scenario = ten_at_a_time();
  scenario.duration_s = 60;
  scenario.plant = {.kind = PlantKind::kPower, .service_s = 0.001, .jitter = 0.1, .knee = 8,
                    .exponent = 1.5};
  const std::clock_t start = std::clock();
  const Result run = play(scenario, "knee");
  EXPECT_GT(run.completed, 300'000U);
  // 0.2 s without sanitizers.
  const double allowed = std::string_view(STREAMGATE_TEST_SANITIZER).empty() ? 1 : 20;
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, allowed);
}

TEST(Summary, ALimitThatTriesOthersNowAndThenHasSettled) {
  std::vector<Sample> series;
  for (int i = 0; i < 100; ++i) {
    const std::size_t limit = i < 20 ? 1 : i % 20 == 0 ? 16 : 8;
    series.push_back({.time_s = static_cast<double>(i), .limit = limit});
  }
  ASSERT_TRUE(settled_since(series).has_value());
  EXPECT_NEAR(*settled_since(series), 20, 10);
  for (Sample& sample : series) sample.limit = static_cast<std::size_t>(sample.time_s) * 7 % 100;
  EXPECT_FALSE(settled_since(series).value_or(100) < 90);
}

struct Wrong {
  const char* what;
  std::function<void(Scenario&)> change;
};

TEST(ScenarioCheck, NamesTheKeyAndWhatIsAllowed) {
  const std::vector<Wrong> wrongs = {
      {"duration_s is 0; allowed: 0.001..", [](Scenario& s) { s.duration_s = 0; }},
      {"duration_s is nan", [](Scenario& s) { s.duration_s = std::nan(""); }},
      {"ceiling is 1024; allowed: 1..1023", [](Scenario& s) { s.ceiling = 1024; }},
      {"initial_limit is 65; allowed: 1..64", [](Scenario& s) { s.initial_limit = 65; }},
      {"initial_limit is 0; allowed: 1..64", [](Scenario& s) { s.initial_limit = 0; }},
      {"timeout_s is -1; allowed: 0..", [](Scenario& s) { s.timeout_s = -1; }},
      {"load.clients is 0; allowed: 1..", [](Scenario& s) { s.load.clients = 0; }},
      {"load.stages is empty", [](Scenario& s) { s.load = {.kind = LoadKind::kOpen}; }},
      {"load.stages[0].seconds is 0",
       [](Scenario& s) { s.load = {.kind = LoadKind::kOpen, .stages = {{0, 1, 1}}}; }},
      {"load.stages[0].rps_to is -1",
       [](Scenario& s) { s.load = {.kind = LoadKind::kOpen, .stages = {{1, 1, -1}}}; }},
      {"plant.service_s is 0; allowed: 0.000001..", [](Scenario& s) { s.plant.service_s = 0; }},
      {"plant.jitter is -1; allowed: 0..", [](Scenario& s) { s.plant.jitter = -1; }},
      {"plant.threads is 0", [](Scenario& s) { s.plant.threads = 0; }},
      {"plant_stages[0].from_s is 11; allowed: 0..10",
       [](Scenario& s) { s.plant_stages = {{.from_s = 11, .plant = s.plant}}; }},
      {"plant_stages[1].from_s is 3; allowed: more than",
       [](Scenario& s) {
         s.plant_stages = {{.from_s = 3, .plant = s.plant}, {.from_s = 3, .plant = s.plant}};
       }},
      {"drop_above needs timeout_s", [](Scenario& s) { s.drop_above = 3; }}};
  EXPECT_EQ(error_of(ten_at_a_time()), "");
  for (const Wrong& wrong : wrongs) {
    Scenario scenario = ten_at_a_time();
    wrong.change(scenario);
    EXPECT_TRUE(error_of(scenario).starts_with(wrong.what)) << wrong.what << ": "
                                                            << error_of(scenario);
  }
}

}  // namespace
}  // namespace streamgate::executor::simulation

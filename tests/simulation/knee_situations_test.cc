// SPDX-License-Identifier: Apache-2.0
//
// What `knee` promises in the situations that random plants under full load do not show: too little
// load, too much for an hour, a plant that refuses, dies or never answers.
#include <streamgate/executor/simulation/simulation.h>
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace streamgate::executor::simulation {
namespace {

Load closed(std::size_t clients) { return {.kind = LoadKind::kClosed, .clients = clients}; }

Plant power(double service_s, double knee, double exponent) {
  Plant plant{.kind = PlantKind::kPower, .service_s = service_s, .jitter = 0.1};
  plant.knee = knee;
  plant.exponent = exponent;
  return plant;
}

std::unique_ptr<policies::LimitPolicy> knee_for(const Scenario& scenario,
                                                std::chrono::nanoseconds latency_target = {}) {
  return policies::make_limit_policy({.name = "knee",
                                      .initial = scenario.initial_limit,
                                      .ceiling = scenario.ceiling,
                                      .latency_target = latency_target});
}

Result play_knee(const Scenario& scenario, const Options& options = {}) {
  return simulate(scenario, *knee_for(scenario), options);
}

double mean_limit(const Result& run, double from, double to) {
  double sum = 0;
  double count = 0;
  for (const Sample& sample : run.series) {
    if (sample.time_s < from || sample.time_s >= to) continue;
    sum += static_cast<double>(sample.limit);
    count += 1;
  }
  return sum / count;
}

TEST(KneeSituations, APlantThatDiesAboveTheCeilingNeverDiesAndTheCeilingIsReachedWhereItPays) {
  Scenario scenario{
      .duration_s = 60, .ceiling = 24, .load = closed(200), .plant = power(0.01, 100, 1)};
  scenario.crash_above = 24;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Result run = play_knee(scenario, {.seed = seed, .measure_from_s = 10});
    EXPECT_FALSE(run.crashed);
    EXPECT_EQ(run.in_flight_max, 24U);
    EXPECT_GT(run.limit_mean, 0.9 * 24);
  }
}

TEST(KneeSituations, AnHourOfOverloadShowsNoDrift) {
  const Scenario scenario{
      .duration_s = 3600, .ceiling = 64, .load = closed(128), .plant = power(0.05, 8, 1)};
  const Result run = play_knee(scenario, {.samples = 3600});
  const double early = mean_limit(run, 300, 1200);
  const double late = mean_limit(run, 2700, 3600);
  EXPECT_NEAR(late / early, 1, 0.1);
  EXPECT_NEAR(late, 8, 1.5);
}

TEST(KneeSituations, LoadFarBelowTheLimitGrowsNothingAndShedsNothing) {
  Scenario scenario{.duration_s = 120, .initial_limit = 16, .ceiling = 256};
  scenario.plant = power(0.05, 32, 1);
  scenario.load = {.kind = LoadKind::kOpen, .stages = {{120, 100, 100}}};
  const Result run = play_knee(scenario);
  EXPECT_LE(run.limit_max, 16U);
  EXPECT_LT(static_cast<double>(run.rejected), 0.01 * static_cast<double>(run.offered));
}

TEST(KneeSituations, ABurstAfterIdlenessIsNotShed) {
  Scenario scenario{.duration_s = 80, .initial_limit = 4, .ceiling = 256};
  scenario.plant = power(0.05, 16, 1);
  scenario.load = {.kind = LoadKind::kOpen,
                   .stages = {{30, 20, 240}, {20, 0.5, 0.5}, {30, 240, 240}}};
  const Result run = play_knee(scenario);
  EXPECT_LT(static_cast<double>(run.rejected), 0.01 * static_cast<double>(run.offered));
  EXPECT_LE(run.limit_last, 48U);
}

TEST(KneeSituations, APlantThatRefusesAboveAWidthIsKeptBelowIt) {
  Scenario scenario{
      .duration_s = 120, .ceiling = 64, .load = closed(64), .plant = power(0.02, 50, 1)};
  scenario.reject_above = 10;
  const Result run = play_knee(scenario, {.measure_from_s = 30});
  EXPECT_GT(run.throughput_per_s, 0.85 * 10 / 0.022);
  EXPECT_LE(run.limit_mean, 11);
}

TEST(KneeSituations, WhenEverythingFailsTheLimitStaysWithinItsBoundsAndDoesNotGrow) {
  Scenario scenario{.duration_s = 30,
                    .initial_limit = 8,
                    .ceiling = 64,
                    .load = closed(64),
                    .plant = power(0.01, 16, 1)};
  scenario.reject_above = 0;
  const Result run = play_knee(scenario);
  EXPECT_EQ(run.completed, 0U);
  EXPECT_GT(run.rejected, 0U);
  EXPECT_LE(run.limit_max, 8U);
  EXPECT_GE(run.limit_min, 1U);
}

TEST(KneeSituations, APlantThatNeverAnswersEndsEveryRequestByItsTimeout) {
  Scenario scenario{.duration_s = 30,
                    .initial_limit = 8,
                    .ceiling = 64,
                    .timeout_s = 0.1,
                    .load = closed(64),
                    .plant = power(0.01, 16, 1)};
  scenario.drop_above = 0;
  const Result run = play_knee(scenario);
  EXPECT_EQ(run.completed, 0U);
  EXPECT_GE(run.timed_out, 290U);
  EXPECT_LE(run.limit_max, 8U);
}

TEST(KneeSituations, ALatencyTargetHoldsTheLimitBelowTheKnee) {
  // At n in flight it takes 20 ms * (1 + (n - 1) / 10): 50 ms are 16 in flight, and more would
  // help.
  Scenario scenario{.duration_s = 120, .ceiling = 64, .load = closed(128)};
  scenario.plant = {.kind = PlantKind::kDelay, .service_s = 0.02, .scale = 0.1};
  const auto braked = knee_for(scenario, std::chrono::milliseconds(50));
  const Result with = simulate(scenario, *braked, {.measure_from_s = 30});
  const Result without = play_knee(scenario, {.measure_from_s = 30});
  EXPECT_LT(with.latency_s.mean, 0.055);
  EXPECT_GT(without.latency_s.mean, 0.06);
  EXPECT_GT(braked->decision_counts()[static_cast<std::size_t>(policies::LimitReason::kLatency)],
            0U);
}

TEST(KneeSituations, AQueueDelayKeepsTheLimitWhereTasksHardlyWait) {
  // 16 at a time would do 730 a second, and 4 do 182: a little less than is asked for.
  Scenario scenario{.duration_s = 120, .initial_limit = 4, .ceiling = 64};
  scenario.plant = power(0.02, 16, 1);
  scenario.load = {.kind = LoadKind::kOpen, .stages = {{120, 185, 185}}};
  const auto play_with = [&](std::chrono::milliseconds delay) {
    const auto policy = policies::make_limit_policy(
        {.name = "knee", .initial = 4, .ceiling = 64, .queue_delay = delay});
    return simulate(scenario, *policy).limit_max;
  };
  EXPECT_GT(play_with(std::chrono::milliseconds(0)), 4U);
  EXPECT_LE(play_with(std::chrono::seconds(10)), 4U);
}

TEST(KneeSituations, ATaskThatWaitsLongerThanTheDelayRaisesTheLimitAgain) {
  // Nearly what 4 at a time can take, and then more than 16 at a time could take.
  Scenario scenario{.duration_s = 240, .initial_limit = 4, .ceiling = 64};
  scenario.plant = power(0.02, 16, 1);
  scenario.load = {.kind = LoadKind::kOpen, .stages = {{120, 160, 160}, {120, 1000, 1000}}};
  const auto policy = policies::make_limit_policy(
      {.name = "knee", .initial = 4, .ceiling = 64, .queue_delay = std::chrono::seconds(1)});
  const Result run = simulate(scenario, *policy);
  EXPECT_LE(mean_limit(run, 0, 120), 4);
  EXPECT_NEAR(mean_limit(run, 180, 240), 16, 3);
}

/// What a policy asks for is not done.
class Unheeded final : public policies::LimitPolicy {
 public:
  explicit Unheeded(policies::LimitPolicy& policy) : policy_(policy) {}
  std::size_t initial_limit() const noexcept override { return policy_.initial_limit(); }
  bool wants_observations() const noexcept override { return true; }
  std::optional<std::size_t> observe(const policies::Observation& o) noexcept override {
    wanted = policy_.observe(o).value_or(wanted);
    return std::nullopt;
  }
  std::size_t wanted = 0;

 private:
  policies::LimitPolicy& policy_;
};

std::unique_ptr<policies::LimitPolicy> watching(const Scenario& scenario) {
  return policies::make_limit_policy({.name = "knee",
                                      .initial = scenario.initial_limit,
                                      .ceiling = scenario.ceiling,
                                      .mode = policies::LimitMode::kShadow});
}

TEST(KneeSituations, InShadowItFindsAKneeThatTheLoadPassesByItself) {
  // Between 100 and 900 a second, past a knee of 8 that takes 800.
  Scenario scenario{.duration_s = 120, .initial_limit = 32, .ceiling = 64};
  scenario.plant = power(0.01, 8, 1.3);
  scenario.load = {.kind = LoadKind::kOpen, .stages = {{60, 100, 900}, {60, 900, 100}}};
  const auto policy = watching(scenario);
  Unheeded shadow(*policy);
  const Result run = simulate(scenario, shadow);
  EXPECT_EQ(run.limit_max, 32U);
  EXPECT_NEAR(static_cast<double>(shadow.wanted), 8, 2);
  ASSERT_TRUE(policy->knee().has_value());
  EXPECT_LT(policy->knee()->low, policy->knee()->knee);
  EXPECT_LE(policy->knee()->low, 8U);
  EXPECT_GE(policy->knee()->high, 8U);
  EXPECT_LE(policy->knee()->high, 32U);
}

TEST(KneeSituations, InShadowItClaimsNothingOfWhatTheLoadNeverShows) {
  Scenario scenario{.duration_s = 60,
                    .initial_limit = 4,
                    .ceiling = 64,
                    .load = closed(64),
                    .plant = power(0.01, 16, 1)};
  const auto policy = watching(scenario);
  Unheeded shadow(*policy);
  static_cast<void>(simulate(scenario, shadow));
  ASSERT_TRUE(policy->knee().has_value());
  EXPECT_EQ(policy->knee()->knee, 4U) << "the most that was ever in flight";
  EXPECT_EQ(policy->knee()->high, 64U);
}

TEST(KneeSituations, ItsDecisionsAreOnRecordWithTheirEvidence) {
  const Scenario scenario{
      .duration_s = 30, .ceiling = 64, .load = closed(128), .plant = power(0.01, 8, 1.5)};
  const auto policy = knee_for(scenario);
  const Result run = simulate(scenario, *policy);
  const auto decisions = policy->recent_decisions();
  ASSERT_FALSE(decisions.empty());
  std::uint64_t counted = 0;
  for (const std::uint64_t count : policy->decision_counts()) counted += count;
  EXPECT_GE(counted, decisions.size());
  bool measured = false;
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    const policies::LimitDecision& decision = decisions[i];
    EXPECT_GE(decision.to, 1U);
    EXPECT_LE(decision.to, 64U);
    EXPECT_LE(decision.gain_low, decision.gain_high);
    if (i > 0) {
      EXPECT_GE(decision.now, decisions[i - 1].now);
    }
    measured = measured || (decision.reason == policies::LimitReason::kNoGain &&
                            decision.gain_high > decision.gain_low);
  }
  EXPECT_TRUE(measured);
  ASSERT_TRUE(run.knee.has_value());
  EXPECT_GE(run.knee->knee, run.knee->low);
  EXPECT_LE(run.knee->knee, run.knee->high);
  EXPECT_LE(run.knee->confirmed, std::chrono::seconds(30));
}

}  // namespace
}  // namespace streamgate::executor::simulation

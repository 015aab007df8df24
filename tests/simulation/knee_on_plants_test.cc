// SPDX-License-Identifier: Apache-2.0
//
// What the limit policy `knee` promises on plants that nobody has chosen, and that the suite which
// judges it would find a policy out that does nothing, or too much. Judged on plants with which
// nothing was tuned.
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plants.h"

namespace streamgate::simulation_test {
namespace {

using policies::LimitPolicy;
using policies::LimitPolicyOptions;
using policies::Observation;

std::unique_ptr<LimitPolicy> make_knee(LimitPolicyOptions options) {
  options.name = "knee";
  return policies::make_limit_policy(options);
}

/// `knee` that has stopped thinking after ten windows.
class Frozen final : public LimitPolicy {
 public:
  explicit Frozen(const LimitPolicyOptions& options) : knee_(make_knee(options)) {}
  std::size_t initial_limit() const noexcept override { return knee_->initial_limit(); }
  bool wants_observations() const noexcept override { return true; }
  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    if (knee_->windows() >= 10) return std::nullopt;
    return knee_->observe(observation);
  }

 private:
  std::unique_ptr<LimitPolicy> knee_;
};

/// Goes to one limit and stays there.
class Always final : public LimitPolicy {
 public:
  Always(const LimitPolicyOptions& options, std::size_t limit)
      : initial_(options.initial), limit_(limit) {}
  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }
  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    if (observation.limit == limit_) return std::nullopt;
    return limit_;
  }

 private:
  std::size_t initial_;
  std::size_t limit_;
};

Summary judge(SeedRange seeds, const PolicyFactory& make) {
  std::vector<Score> scores;
  for (std::uint64_t seed = seeds.first; seed < seeds.end; ++seed) {
    scores.push_back(play(draw_plant(seed), make));
  }
  return summarise(scores);
}

std::vector<std::string> missed_goals(const Summary& summary) {
  std::vector<std::string> missed;
  const auto at_least = [&](const char* what, double value, double goal) {
    if (!(value >= goal)) missed.push_back(std::string(what) + " " + std::to_string(value));
  };
  const auto at_most = [&](const char* what, double value, double goal) {
    if (!(value <= goal)) missed.push_back(std::string(what) + " " + std::to_string(value));
  };
  at_least("median throughput", summary.throughput_median, 0.97);
  at_least("5th percentile of throughput", summary.throughput_p05, 0.92);
  at_most("median latency", summary.latency_median, 1.15);
  at_most("95th percentile of latency", summary.latency_p95, 1.5);
  at_most("95th percentile of windows from the start", summary.start_windows_p95, 12);
  at_most("95th percentile of windows from a step", summary.step_windows_p95, 20);
  at_least("share of knees in their interval", summary.knee_coverage.value_or(1), 0.9);
  return missed;
}

/// Half of the report's plants: of fewer, a 95th percentile of the steps is but the worst one.
constexpr SeedRange kHalf{kReportSeeds.end - 100, kReportSeeds.end};
/// For policies that miss the goals by far.
constexpr SeedRange kSome{kReportSeeds.first, kReportSeeds.first + 40};

TEST(KneeOnPlants, MeetsEveryGoalOnAHundredUnseenPlants) {
  const Summary summary = judge(kHalf, make_knee);
  EXPECT_EQ(missed_goals(summary), std::vector<std::string>{});
  EXPECT_TRUE(summary.knee_coverage.has_value());
}

TEST(KneeOnPlants, LongMeetsEveryGoalOnTwoHundredUnseenPlants) {
  const Summary summary = judge(kReportSeeds, make_knee);
  EXPECT_EQ(summary.plants, 200U);
  EXPECT_EQ(missed_goals(summary), std::vector<std::string>{});
}

TEST(KneeOnPlants, APolicyThatStopsThinkingMissesAGoal) {
  const Summary summary = judge(kSome, [](const LimitPolicyOptions& options) {
    return std::make_unique<Frozen>(options);
  });
  EXPECT_NE(missed_goals(summary), std::vector<std::string>{});
}

TEST(KneeOnPlants, APolicyThatIsAlwaysAtTheLeastMissesAGoal) {
  const Summary summary = judge(kSome, [](const LimitPolicyOptions& options) {
    return std::make_unique<Always>(options, 1);
  });
  EXPECT_NE(missed_goals(summary), std::vector<std::string>{});
}

TEST(KneeOnPlants, APolicyThatIsAlwaysAtTheCeilingMissesAGoal) {
  const Summary summary = judge(kSome, [](const LimitPolicyOptions& options) {
    return std::make_unique<Always>(options, options.ceiling);
  });
  EXPECT_NE(missed_goals(summary), std::vector<std::string>{});
}

}  // namespace
}  // namespace streamgate::simulation_test

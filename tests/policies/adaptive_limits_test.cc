// SPDX-License-Identifier: Apache-2.0
//
// What the adaptive limit policies promise one observation at a time: the published rules, and that
// `knee` takes whatever it is told. How well `knee` does is for tests/simulation to say.
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace streamgate::policies {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

std::unique_ptr<LimitPolicy> make(std::string_view name, std::size_t initial,
                                  std::size_t ceiling = 1000) {
  return make_limit_policy({.name = name, .initial = initial, .ceiling = ceiling});
}

/// A policy and the limit that it has asked for, under load that fills it.
class Driven {
 public:
  explicit Driven(std::unique_ptr<LimitPolicy> policy)
      : policy_(std::move(policy)), limit_(policy_->initial_limit()) {}

  std::size_t limit() const { return limit_; }
  LimitPolicy& policy() { return *policy_; }

  void complete(nanoseconds service, bool good = true) { complete_with(service, limit_, good); }
  void complete_with(nanoseconds service, std::size_t in_flight, bool good = true) {
    now_ += std::max<nanoseconds>(service / static_cast<int>(limit_), nanoseconds(1));
    observe(
        {.now = now_, .service = service, .in_flight = in_flight, .limit = limit_, .good = good});
  }
  void observe(const Observation& observation) {
    if (const auto next = policy_->observe(observation)) limit_ = *next;
  }

 private:
  std::unique_ptr<LimitPolicy> policy_;
  std::size_t limit_;
  nanoseconds now_{0};
};

TEST(AimdLimit, AddsOneForASuccessAndTakesATenthForAFailure) {
  Driven aimd(make("aimd", 50));
  aimd.complete(milliseconds(10));
  EXPECT_EQ(aimd.limit(), 51U);
  aimd.complete(milliseconds(10), false);
  EXPECT_EQ(aimd.limit(), 45U);
  aimd.complete(milliseconds(5001));
  EXPECT_EQ(aimd.limit(), 40U);
  aimd.complete_with(milliseconds(10), 19);
  EXPECT_EQ(aimd.limit(), 40U) << "less than half of the limit is in use";
}

TEST(AimdLimit, StaysWithinItsPublishedBounds) {
  Driven aimd(make("aimd", 50));
  for (int i = 0; i < 300; ++i) aimd.complete(milliseconds(1));
  EXPECT_EQ(aimd.limit(), 200U);
  for (int i = 0; i < 300; ++i) aimd.complete(milliseconds(1), false);
  EXPECT_EQ(aimd.limit(), 20U);
}

TEST(VegasLimit, GrowsWhileNothingWaitsAndShrinksWhileMuchDoes) {
  Driven vegas(make("vegas", 20));
  vegas.complete(milliseconds(10));  // The fastest.
  vegas.complete(milliseconds(10));
  EXPECT_EQ(vegas.limit(), 26U) << "6 log10(20), in whole tens, are 6";
  vegas.complete(milliseconds(20));
  EXPECT_EQ(vegas.limit(), 25U) << "half of 26 wait: more than 6";
  vegas.complete(nanoseconds(12'000'000));
  EXPECT_EQ(vegas.limit(), 25U) << "5 wait: between 3 and 6";
  vegas.complete(milliseconds(10), false);
  EXPECT_EQ(vegas.limit(), 24U);
}

TEST(Gradient2Limit, GrowsByItsQueueAtRestAndShrinksWithSlowerService) {
  Driven gradient(make("gradient2", 50));
  const auto window = [&](nanoseconds service) {
    const std::size_t before = gradient.limit();
    for (int i = 0; i < 100'000 && gradient.limit() == before; ++i) gradient.complete(service);
    return gradient.limit();
  };
  window(milliseconds(10));
  EXPECT_EQ(gradient.limit(), 51U) << "0.8 * 50 + 0.2 * (50 + 4)";
  const std::size_t before = gradient.limit();
  for (int i = 0; i < 5; ++i) window(milliseconds(100));
  EXPECT_LT(gradient.limit(), before);
}

class EveryPolicy : public testing::TestWithParam<std::string_view> {};

TEST_P(EveryPolicy, StaysWithinOneAndItsCeilingWhateverItSees) {
  Driven driven(make(GetParam(), 3, 7));
  std::uint64_t random = 1;
  const auto draw = [&random](std::uint64_t below) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    return (random >> 33U) % below;
  };
  for (int i = 0; i < 200'000; ++i) {
    // Clocks that jump both ways, services of no time and of years, others' limits.
    Observation wild{
        .now = nanoseconds(static_cast<std::int64_t>(draw(1ULL << 30U)) << draw(32)),
        .wait = nanoseconds(static_cast<std::int64_t>(draw(1ULL << 30U))),
        .service = nanoseconds(static_cast<std::int64_t>(draw(1ULL << 30U)) << draw(33)),
        .in_flight = draw(12),
        .limit = draw(50) == 0 ? draw(12) : driven.limit(),
        .good = draw(4) != 0};
    if (draw(100) == 0) wild.service = nanoseconds::max();
    driven.observe(wild);
    ASSERT_GE(driven.limit(), 1U);
    ASSERT_LE(driven.limit(), 7U);
  }
}

INSTANTIATE_TEST_SUITE_P(ByName, EveryPolicy, testing::ValuesIn(kLimitPolicyNames),
                         [](const auto& name) { return std::string(name.param); });

/// Completions of a plant that does `threads` at a time, in one millisecond each.
void play_shared(Driven& driven, std::size_t threads, int completions) {
  for (int i = 0; i < completions; ++i) {
    driven.complete(nanoseconds(1'000'000 * std::max(threads, driven.limit()) / threads));
  }
}

TEST(KneeLimit, FindsWhereThroughputStopsGrowing) {
  Driven knee(make("knee", 1, 64));
  play_shared(knee, 8, 40'000);
  ASSERT_TRUE(knee.policy().knee().has_value());
  EXPECT_GE(knee.policy().knee()->knee, 7U);
  EXPECT_LE(knee.policy().knee()->knee, 9U);
}

TEST(KneeLimit, LooksNoFurtherWhileTheApplicationDoesNotFillTheLimit) {
  Driven knee(make("knee", 8, 64));
  for (int i = 0; i < 40'000; ++i) knee.complete_with(milliseconds(1), 3);
  EXPECT_EQ(knee.limit(), 8U);
  EXPECT_EQ(knee.policy().decision_counts()[static_cast<std::size_t>(LimitReason::kTrial)], 0U);
}

TEST(KneeLimit, TakesALimitThatSomebodyElseHasSetForItsBase) {
  Driven knee(make("knee", 1, 64));
  play_shared(knee, 8, 40'000);
  nanoseconds now = std::chrono::hours(1);
  std::optional<std::size_t> asked;
  for (int i = 0; i < 2'000 && !asked; ++i) {
    now += milliseconds(1);
    asked =
        knee.policy().observe({.now = now, .service = milliseconds(1), .in_flight = 2, .limit = 2});
  }
  EXPECT_GE(knee.policy().decision_counts()[static_cast<std::size_t>(LimitReason::kMoved)], 1U);
}

TEST(KneeLimit, FindsTheKneeAgainOnceNobodyHoldsTheLimitBelowIt) {
  Driven knee(make("knee", 1, 64));
  play_shared(knee, 8, 40'000);
  // Held at 2, whatever it asks for.
  nanoseconds now = std::chrono::hours(1);
  std::size_t asked = 2;
  for (int i = 0; i < 2'000; ++i) {
    now += std::chrono::microseconds(500);
    const Observation held{.now = now, .service = milliseconds(1), .in_flight = 2, .limit = 2};
    asked = knee.policy().observe(held).value_or(asked);
  }
  EXPECT_EQ(asked, 2U) << "what is not given is not asked for again and again";
  for (int i = 0; i < 40'000; ++i) {
    now += nanoseconds(1'000'000 / static_cast<int>(std::min<std::size_t>(asked, 8)));
    const Observation free{
        .now = now, .service = milliseconds(1), .in_flight = asked, .limit = asked};
    asked = knee.policy().observe(free).value_or(asked);
  }
  EXPECT_GE(knee.policy().knee()->knee, 7U);
  EXPECT_LE(knee.policy().knee()->knee, 9U);
}

TEST(KneeLimit, LooksNearbyFirstWhereTheKneeWasMeasured) {
  for (const bool measured : {true, false}) {
    const auto policy = make_limit_policy(
        {.name = "knee", .initial = 16, .ceiling = 64, .initial_is_knee = measured});
    nanoseconds now{0};
    std::optional<std::size_t> tried;
    for (int i = 0; i < 1'000 && !tried; ++i) {
      now += std::chrono::microseconds(100);
      tried =
          policy->observe({.now = now, .service = milliseconds(1), .in_flight = 16, .limit = 16});
    }
    EXPECT_EQ(tried, measured ? 20U : 32U);
  }
}

TEST(KneeLimit, ACeilingOfOneLeavesNothingToObserve) {
  EXPECT_FALSE(make("knee", 1, 1)->wants_observations());
  EXPECT_TRUE(make("knee", 1, 2)->wants_observations());
}

/// Completions on two cores. With two threads within, a task alone takes `with_two` of its time,
/// and a second task beside it does not help.
class TwoCores {
 public:
  explicit TwoCores(double with_two)
      : with_two_(with_two),
        policy_(
            make_limit_policy({.name = "knee", .initial = 2, .ceiling = 8, .cores_to_split = 2})) {}

  std::size_t play(int completions) {
    for (int i = 0; i < completions; ++i) {
      const bool two = policy_->intra_op_threads() == 2;
      const double tasks =
          two ? 1 / with_two_ : static_cast<double>(std::min<std::size_t>(limit_, 2));
      now_ += nanoseconds(static_cast<std::int64_t>(1e6 / tasks));
      with_two_threads += two ? 1 : 0;
      at_a_time_ = two ? at_a_time_ + 1 : 0;
      longest_trial = std::max(longest_trial, at_a_time_);
      if (const auto next = policy_->observe(
              {.now = now_, .service = milliseconds(1), .in_flight = limit_, .limit = limit_})) {
        limit_ = *next;
        EXPECT_LE(limit_ * policy_->intra_op_threads(), policy_->intra_op_threads() == 2 ? 2U : 8U);
      }
    }
    return policy_->intra_op_threads();
  }
  int with_two_threads = 0;
  int longest_trial = 0;

 private:
  int at_a_time_ = 0;
  double with_two_;
  std::unique_ptr<LimitPolicy> policy_;
  std::size_t limit_ = 2;
  nanoseconds now_{0};
};

TEST(KneeLimit, TakesFewTasksWithManyThreadsWhereThatCompletesMore) {
  TwoCores cores(0.4);  // 2.5 tasks' worth at once, against 2.
  EXPECT_EQ(cores.play(1'000), 1U) << "it begins with one";
  EXPECT_EQ(cores.play(60'000), 2U);
}

TEST(KneeLimit, StaysWithOneThreadWhereMoreCompleteNoMoreAndTriesThemSeldom) {
  TwoCores cores(0.55);
  EXPECT_EQ(cores.play(1'000'000), 1U);
  EXPECT_GT(cores.with_two_threads, 0);
  EXPECT_LT(cores.with_two_threads, 20'000);
}

TEST(KneeLimit, ANumberOfThreadsThatCostsMostOfTheThroughputIsGivenUpAtOnce) {
  TwoCores cores(20);  // A fortieth of what two tasks do.
  EXPECT_EQ(cores.play(200'000), 1U);
  EXPECT_GT(cores.with_two_threads, 0);
  EXPECT_LE(cores.longest_trial, 33);
}

TEST(KneeLimit, AFailingWindowLowersTheLimit) {
  Driven knee(make("knee", 1, 64));
  play_shared(knee, 8, 40'000);
  const std::size_t before = knee.limit();
  for (int i = 0; i < 200 && knee.limit() >= before; ++i)
    knee.complete(milliseconds(1), i % 2 == 0);
  EXPECT_LT(knee.limit(), before);
  EXPECT_GE(knee.policy().decision_counts()[static_cast<std::size_t>(LimitReason::kErrors)], 1U);
}

}  // namespace
}  // namespace streamgate::policies

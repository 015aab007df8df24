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

  void complete(nanoseconds service, bool good = true) {
    complete_with(service, limit_, good);
  }
  void complete_with(nanoseconds service, std::size_t in_flight, bool good = true) {
    now_ += std::max<nanoseconds>(service / static_cast<int>(limit_), nanoseconds(1));
    observe({.now = now_, .service = service, .in_flight = in_flight, .limit = limit_, .good = good});
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
    Observation wild{.now = nanoseconds(static_cast<std::int64_t>(draw(1ULL << 30U)) << draw(32)),
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
    asked = knee.policy().observe(
        {.now = now, .service = milliseconds(1), .in_flight = 2, .limit = 2});
  }
  EXPECT_GE(knee.policy().decision_counts()[static_cast<std::size_t>(LimitReason::kMoved)], 1U);
}

TEST(KneeLimit, AFailingWindowLowersTheLimit) {
  Driven knee(make("knee", 1, 64));
  play_shared(knee, 8, 40'000);
  const std::size_t before = knee.limit();
  for (int i = 0; i < 200 && knee.limit() >= before; ++i) knee.complete(milliseconds(1), i % 2 == 0);
  EXPECT_LT(knee.limit(), before);
  EXPECT_GE(knee.policy().decision_counts()[static_cast<std::size_t>(LimitReason::kErrors)], 1U);
}

}  // namespace
}  // namespace streamgate::policies

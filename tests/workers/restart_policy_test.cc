// SPDX-License-Identifier: Apache-2.0
//
// When workers are started again, on simulated time.
#include <streamgate/executor/workers/restart_policy.h>

#include <gtest/gtest.h>

#include <chrono>

namespace streamgate::executor {
namespace {

using namespace std::chrono_literals;
using TimePoint = RestartPolicy::TimePoint;

constexpr TimePoint kBegin{1h};
constexpr RestartOptions kOptions{.first_delay = 100ms,
                                  .longest_delay = 1'000ms,
                                  .jitter = 0,
                                  .breaker_deaths = 10,
                                  .breaker_window = 30s,
                                  .breaker_pause = 20s};

TEST(RestartPolicy, ASingleDeathIsReplacedAtOnce) {
  RestartPolicy policy(kOptions);
  EXPECT_TRUE(policy.may_start(kBegin));
  policy.died(kBegin);
  EXPECT_TRUE(policy.may_start(kBegin));
}

TEST(RestartPolicy, FurtherDeathsWaitTwiceAsLongEachUpToTheLongest) {
  RestartPolicy policy(kOptions);
  TimePoint now = kBegin;
  policy.died(now);
  for (const auto delay : {100ms, 200ms, 400ms, 800ms, 1'000ms, 1'000ms}) {
    now += 5s;  // So that the breaker stays out of it.
    policy.died(now);
    EXPECT_EQ(policy.next_start(), now + delay);
    EXPECT_FALSE(policy.may_start(now + delay - 1ns));
    EXPECT_TRUE(policy.may_start(now + delay));
  }
}

TEST(RestartPolicy, AnAnswerEndsTheSeries) {
  RestartPolicy policy(kOptions);
  for (int i = 0; i < 5; ++i) policy.died(kBegin);
  policy.served(kBegin + 10s);
  policy.died(kBegin + 20s);
  EXPECT_TRUE(policy.may_start(kBegin + 20s));
}

TEST(RestartPolicy, DelaysAreSpreadByTheJitterAndNoFurther) {
  RestartOptions options = kOptions;
  options.jitter = 0.5;
  bool some_differ = false;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    options.seed = seed;
    RestartPolicy policy(options);
    policy.died(kBegin);
    policy.died(kBegin);
    const auto delay = policy.next_start() - kBegin;
    EXPECT_GE(delay, 50ms);
    EXPECT_LE(delay, 150ms);
    some_differ = some_differ || delay < 90ms || delay > 110ms;
  }
  EXPECT_TRUE(some_differ);
}

TEST(RestartPolicy, TooManyDeathsTooFastOpenTheBreakerForItsPause) {
  RestartPolicy policy(kOptions);
  for (int i = 0; i < 9; ++i) {
    policy.died(kBegin + i * 3s);
    policy.served(kBegin + i * 3s);
  }
  EXPECT_FALSE(policy.is_open());
  const TimePoint last = kBegin + 27s;
  policy.died(last);
  EXPECT_TRUE(policy.is_open());
  EXPECT_FALSE(policy.may_start(last + 20s - 1ns));
  EXPECT_TRUE(policy.may_start(last + 20s));
}

TEST(RestartPolicy, AsManyDeathsOverALongerTimeDoNot) {
  RestartPolicy policy(kOptions);
  for (int i = 0; i < 100; ++i) {
    policy.died(kBegin + i * 4s);
    policy.served(kBegin + i * 4s);
  }
  EXPECT_FALSE(policy.is_open());
}

TEST(RestartPolicy, ThreeFailedStartsInARowOpenTheBreakerHoweverSlowTheyWere) {
  RestartPolicy policy(kOptions);
  policy.failed_to_start(kBegin);
  policy.failed_to_start(kBegin + 1h);
  policy.became_ready();
  policy.failed_to_start(kBegin + 2h);
  policy.failed_to_start(kBegin + 3h);
  EXPECT_FALSE(policy.is_open());
  policy.failed_to_start(kBegin + 4h);
  EXPECT_TRUE(policy.is_open());
}

TEST(RestartPolicy, TheBreakerClosesWithAnAnswerAfterItsPauseAndOpensWithADeath) {
  RestartPolicy policy(kOptions);
  for (int i = 0; i < 10; ++i) policy.died(kBegin);
  policy.served(kBegin + 1s);
  EXPECT_TRUE(policy.is_open()) << "a worker from before says nothing about new ones";
  policy.died(kBegin + 21s);
  EXPECT_FALSE(policy.may_start(kBegin + 41s - 1ns)) << "it was tried, and died";
  policy.served(kBegin + 42s);
  EXPECT_FALSE(policy.is_open());
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// Sleeping and being woken: no wake is lost, none is heard twice.
#include <streamgate/executor/parker.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using Steady = std::chrono::steady_clock;
using testing::kGuard;

TEST(Parker, AWakeBeforeTheParkSparesTheSleep) {
  Parker parker;
  parker.wake();
  EXPECT_TRUE(parker.park_until(Steady::time_point::min()));
}

TEST(Parker, NobodyWakesItSoItWaitsForTheDeadline) {
  Parker parker;
  const auto deadline = Steady::now() + std::chrono::milliseconds(20);
  EXPECT_FALSE(parker.park_until(deadline));
  EXPECT_GE(Steady::now(), deadline);
}

TEST(Parker, ADeadlineInThePastReturnsAtOnce) {
  Parker parker;
  EXPECT_FALSE(parker.park_until(Steady::time_point::min()));
  EXPECT_FALSE(parker.park_until(Steady::time_point{}));
  EXPECT_FALSE(parker.park_until(Steady::now()));
}

TEST(Parker, AWakeEndsASleepWithoutADeadlineAndShowsWhatCameBefore) {
  Parker parker;
  int written = 0;
  std::jthread waker([&] {
    written = 42;
    parker.wake();
  });
  EXPECT_TRUE(parker.park_until(Steady::time_point::max()));
  EXPECT_EQ(written, 42);
}

TEST(Parker, OneWakeEndsOnePark) {
  Parker parker;
  parker.wake();
  EXPECT_TRUE(parker.park_until(Steady::now() + kGuard));
  EXPECT_FALSE(parker.park_until(Steady::now() + std::chrono::milliseconds(5)));
  parker.wake();
  EXPECT_TRUE(parker.park_until(Steady::now() + kGuard)) << "it serves again";
}

TEST(Parker, MayEndAsSoonAsItWasWoken) {
  for (int i = 0; i < 2'000; ++i) {
    auto parker = std::make_unique<Parker>();
    Parker& there = *parker;
    std::jthread waker([&] { there.wake(); });
    ASSERT_TRUE(parker->park_until(Steady::now() + kGuard));
    parker.reset();
  }
}

TEST(Parker, NoWakeIsLostBesideDeadlines) {
  Parker to_echo;
  Parker from_echo;
  constexpr int kRounds = 10'000;
  std::jthread echo([&] {
    std::mt19937 random(1);
    for (int i = 0; i < kRounds; ++i) {
      while (!to_echo.park_until(Steady::now() + std::chrono::nanoseconds(random() % 20'000))) {
      }
      from_echo.wake();
    }
  });
  std::mt19937 random(2);
  for (int i = 0; i < kRounds; ++i) {
    to_echo.wake();
    const auto guard = Steady::now() + kGuard;
    while (!from_echo.park_until(Steady::now() + std::chrono::nanoseconds(random() % 20'000))) {
      ASSERT_LT(Steady::now(), guard) << "in round " << i;
    }
  }
}

}  // namespace
}  // namespace streamgate::executor

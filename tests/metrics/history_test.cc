// SPDX-License-Identifier: Apache-2.0
//
// What a history makes of snapshots, on a clock of the test's own.
#include <streamgate/metrics/internal/history.h>

#include <gtest/gtest.h>

#include <chrono>

namespace streamgate::metrics::internal {
namespace {

using executor::Clock;
using executor::Outcome;
using executor::Snapshot;
using std::chrono::milliseconds;
using std::chrono::seconds;

const Clock::time_point kStart{seconds(1'000)};

/// With so many tasks in flight, of class raw, and so many that have ended well.
Snapshot snapshot(std::size_t in_use, std::uint64_t ok) {
  Snapshot snapshot;
  snapshot.gates[0].in_use = in_use;
  snapshot.gates[0].limit = 8;
  snapshot.lanes[0].outcomes[index_of(Outcome::kOk)] = ok;
  return snapshot;
}

TEST(History, APointIsTheMeanOfWhatWasSeenAndTheRateOfWhatWasCounted) {
  History history;
  history.add(kStart, snapshot(2, 100));
  EXPECT_TRUE(history.points().empty());
  history.add(kStart + milliseconds(500), snapshot(4, 160));
  history.add(kStart + milliseconds(1'000), snapshot(6, 300));
  ASSERT_EQ(history.points().size(), 1U);
  const HistoryPoint& point = history.points().front();
  EXPECT_EQ(point.end, kStart + seconds(1));
  EXPECT_DOUBLE_EQ(point.gates[0].in_use, 4);
  EXPECT_DOUBLE_EQ(point.gates[0].limit, 8);
  EXPECT_DOUBLE_EQ(point.ok_per_s, 200);
  EXPECT_DOUBLE_EQ(point.gates[0].ok_per_s, 200);
  EXPECT_DOUBLE_EQ(point.gates[1].ok_per_s, 0) << "no task needed that class";
}

TEST(History, ARateIsOfTheTimeThatHasPassedNotOfTheTimeThatShouldHave) {
  History history;
  history.add(kStart, snapshot(1, 0));
  history.add(kStart + seconds(4), snapshot(1, 400));
  EXPECT_DOUBLE_EQ(history.points().back().ok_per_s, 100);
}

TEST(History, TasksOfTwoClassesCountForBoth) {
  History history;
  history.add(kStart, {});
  Snapshot later;
  const auto both = policies::OpClassSet(policies::OpClass::kKernel) | policies::OpClass::kGraph;
  later.lanes[both.lane()].outcomes[index_of(Outcome::kOk)] = 10;
  history.add(kStart + seconds(1), later);
  const HistoryPoint& point = history.points().back();
  EXPECT_DOUBLE_EQ(point.gates[policies::index_of(policies::OpClass::kKernel)].ok_per_s, 10);
  EXPECT_DOUBLE_EQ(point.gates[policies::index_of(policies::OpClass::kGraph)].ok_per_s, 10);
  EXPECT_DOUBLE_EQ(point.ok_per_s, 10);
}

TEST(History, EveryOutcomeIsOkOrRefusedOrFailedButForTheCancelled) {
  History history;
  history.add(kStart, {});
  Snapshot later;
  for (std::size_t i = 0; i < executor::kOutcomes; ++i) later.lanes[0].outcomes[i] = 1;
  history.add(kStart + seconds(1), later);
  const HistoryPoint& point = history.points().back();
  EXPECT_DOUBLE_EQ(point.ok_per_s, 1);
  EXPECT_DOUBLE_EQ(point.refused_per_s, 7) << "six rejections and the expired";
  EXPECT_DOUBLE_EQ(point.failed_per_s, 2);
}

TEST(History, KeepsABoundedNumberOfPointsTheNewest) {
  History history({.kept = 5});
  for (int i = 0; i < 100; ++i) history.add(kStart + seconds(i), snapshot(1, 0));
  EXPECT_EQ(history.points().size(), 5U);
  EXPECT_EQ(history.points().back().end, kStart + seconds(99));
  EXPECT_EQ(history.points().front().end, kStart + seconds(95));
}

TEST(History, BeginsAnewWithAnotherExecutorOfTheSameName) {
  History history;
  history.add(kStart, snapshot(1, 1'000));
  history.add(kStart + seconds(1), snapshot(1, 2'000));
  history.add(kStart + seconds(2), snapshot(1, 5));
  EXPECT_TRUE(history.points().empty());
  history.add(kStart + seconds(3), snapshot(1, 15));
  ASSERT_EQ(history.points().size(), 1U);
  EXPECT_DOUBLE_EQ(history.points().back().ok_per_s, 10);
}

TEST(History, QuantilesAreOfTheLastMinuteOnly) {
  History history;
  Snapshot seen;
  EXPECT_FALSE(history.recent_wait().p50);
  history.add(kStart, seen);
  seen.lanes[0].wait.counts[20] = 1'000'000;  // Long ago, and slow.
  history.add(kStart + seconds(1), seen);
  ASSERT_TRUE(history.recent_wait().p50);
  for (int i = 2; i <= 70; ++i) {
    seen.lanes[0].wait.counts[9] += 100;
    history.add(kStart + seconds(i), seen);
  }
  const auto bound = [](std::size_t i) {
    return std::chrono::duration<double>(executor::duration_bounds()[i]).count();
  };
  const Quantiles recent = history.recent_wait();
  ASSERT_TRUE(recent.p50 && recent.p99);
  EXPECT_NEAR(*recent.p50, (bound(8) + bound(9)) / 2, bound(9) * 0.01);
  EXPECT_GT(*recent.p99, *recent.p50);
  EXPECT_LE(*recent.p99, bound(9));
  EXPECT_FALSE(history.recent_run().p50) << "nothing ran";
}

TEST(History, WhatIsAboveTheLastBoundIsSaidToBeThere) {
  History history;
  Snapshot seen;
  history.add(kStart, seen);
  seen.lanes[0].run.counts.back() = 1;
  history.add(kStart + seconds(1), seen);
  EXPECT_DOUBLE_EQ(history.recent_run().p99.value_or(0), 100);
}

}  // namespace
}  // namespace streamgate::metrics::internal

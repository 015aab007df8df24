// SPDX-License-Identifier: Apache-2.0
//
// What is counted of ended tasks, and what a snapshot says of an executor.
#include <streamgate/executor.h>
#include <streamgate/executor/internal/recorder.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using std::chrono::nanoseconds;
using testing::Blocker;
using testing::eventually;
using testing::inline_config;

/// The one bucket that a duration counts in, and its place.
std::size_t bucket_of(nanoseconds duration) {
  Recorder recorder(1);
  recorder.ran(0, 0, Outcome::kOk, duration, nanoseconds(0));
  Snapshot snapshot;
  recorder.add_to(snapshot);
  const auto& counts = snapshot.lanes[0].wait.counts;
  std::size_t found = counts.size();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    EXPECT_EQ(counts[i], 1U);
    EXPECT_EQ(found, counts.size()) << "counted in two buckets";
    found = i;
  }
  return found;
}

std::uint64_t total(const DurationHistogram& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::uint64_t{0});
}

TEST(Recorder, BoundsRiseFromAMicrosecondToAHundredSecondsInSteps) {
  const auto& bounds = duration_bounds();
  EXPECT_EQ(bounds.front(), std::chrono::microseconds(1));
  EXPECT_EQ(bounds.back(), std::chrono::seconds(100));
  for (std::size_t i = 0; i + 3 < bounds.size(); ++i) EXPECT_EQ(bounds[i + 3], 10 * bounds[i]);
  EXPECT_EQ(bounds[1], nanoseconds(2'500));
  EXPECT_EQ(bounds[2], std::chrono::microseconds(5));
}

TEST(Recorder, DurationCountsInTheFirstBucketWhoseBoundIsNotBelowIt) {
  const auto& bounds = duration_bounds();
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    EXPECT_EQ(bucket_of(bounds[i]), i);
    EXPECT_EQ(bucket_of(bounds[i] - nanoseconds(1)), i);
    EXPECT_EQ(bucket_of(bounds[i] + nanoseconds(1)), i + 1);
  }
  EXPECT_EQ(bucket_of(nanoseconds(0)), 0U);
  EXPECT_EQ(bucket_of(nanoseconds(1)), 0U);
  EXPECT_EQ(bucket_of(nanoseconds(-5)), 0U) << "a clock that stands still is no other bucket";
  EXPECT_EQ(bucket_of(nanoseconds::max()), bounds.size());
}

TEST(Recorder, SumsUpOverSlotsByLaneAndOutcome) {
  Recorder recorder(3);
  recorder.ran(0, 1, Outcome::kOk, nanoseconds(10), nanoseconds(100));
  recorder.ran(2, 1, Outcome::kOk, nanoseconds(20), nanoseconds(200));
  recorder.ran(2, 1, Outcome::kFailed, nanoseconds(30), nanoseconds(300));
  recorder.ended_waiting(1, Outcome::kExpired);
  recorder.ended_waiting(4, Outcome::kShed);
  Snapshot snapshot;
  recorder.add_to(snapshot);
  EXPECT_EQ(snapshot.lanes[1].outcomes[index_of(Outcome::kOk)], 2U);
  EXPECT_EQ(snapshot.lanes[1].outcomes[index_of(Outcome::kFailed)], 1U);
  EXPECT_EQ(snapshot.lanes[1].outcomes[index_of(Outcome::kExpired)], 1U);
  EXPECT_EQ(snapshot.lanes[4].outcomes[index_of(Outcome::kShed)], 1U);
  EXPECT_EQ(snapshot.lanes[1].wait.sum, nanoseconds(60));
  EXPECT_EQ(snapshot.lanes[1].run.sum, nanoseconds(600));
  EXPECT_EQ(total(snapshot.lanes[1].wait), 3U) << "those that never ran have no durations";
  EXPECT_EQ(testing::count_of_ended(snapshot), 5U);
}

TEST(Snapshot, TellsWhatTheExecutorIsAndHasDone) {
  auto config = inline_config(2);
  config.queue.max_tasks = 11;
  config.queue.max_bytes = 1'000;
  Executor executor({.config = config});
  EXPECT_EQ(executor.snapshot().backend, "inline");
  EXPECT_EQ(executor.snapshot().arena.threads, 2U);
  EXPECT_EQ(executor.snapshot().streams.slots, 32U);
  EXPECT_EQ(executor.snapshot().queue.max_tasks, 11U);
  EXPECT_EQ(executor.snapshot().queue.max_bytes, 1'000U);
  {
    Blocker graph(executor, {.op_class = OpClass::kGraph});
    auto waiting = executor.submit({.op_class = OpClass::kGraph, .cost_bytes = 30}, [] {});
    auto waiting_too = executor.submit({.op_class = OpClass::kGraph, .cost_bytes = 12}, [] {});
    executor.set_limit(OpClass::kGraph, 1);
    const Snapshot snapshot = executor.snapshot();
    EXPECT_EQ(snapshot.queue.tasks, 2U);
    EXPECT_EQ(snapshot.queue.bytes, 42U);
    EXPECT_EQ(snapshot.lanes[2].queued, 2U);
    EXPECT_EQ(snapshot.gates[policies::index_of(OpClass::kGraph)].in_use, 1U);
    EXPECT_EQ(snapshot.streams.leased, 1U);
    EXPECT_GE(snapshot.arena.tickets, 1U);
    EXPECT_LE(snapshot.arena.tickets, 2U);
    graph.end();
    EXPECT_TRUE(waiting.get());
    EXPECT_TRUE(waiting_too.get());
  }
  testing::drain_all(executor);
  EXPECT_EQ(executor.snapshot().arena.tickets, 0U);
}

TEST(Snapshot, MeasuresWaitAndRun) {
  Executor executor({.config = inline_config(1)});
  const auto busy = std::chrono::milliseconds(3);
  const auto run_for = [](auto duration) {
    const auto end = Clock::now() + duration;
    EXPECT_TRUE(eventually([&] { return Clock::now() >= end; }));
  };
  auto first = executor.submit([&] { run_for(busy); });
  auto second = executor.submit([] {});
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
  std::jthread caller([&] { EXPECT_TRUE(executor.run([&] { run_for(busy); })); });
  caller.join();
  testing::drain_all(executor);
  const LaneSnapshot raw = executor.snapshot().lanes[0];
  EXPECT_EQ(total(raw.wait), 3U);
  EXPECT_EQ(total(raw.run), 3U);
  EXPECT_GE(raw.run.sum, 2 * busy);
  EXPECT_GE(raw.wait.sum, busy - std::chrono::milliseconds(1)) << "the second waited for the first";
  EXPECT_LT(raw.run.sum, testing::kGuard);
}

TEST(Snapshot, MayBeTakenWhileEverythingMoves) {
  Executor executor({.config = inline_config(2)});
  std::atomic<bool> stop{false};
  std::jthread reader([&] {
    std::uint64_t last = 0;
    while (!stop.load()) {
      const Snapshot snapshot = executor.snapshot();
      const std::uint64_t now = testing::count_of_ended(snapshot);
      EXPECT_GE(now, last) << "a counter went back";
      last = now;
      EXPECT_LE(snapshot.gates[0].in_use, snapshot.gates[0].ceiling);
      EXPECT_LE(snapshot.streams.leased, snapshot.streams.slots);
    }
  });
  for (int i = 0; i < 5'000; ++i) {
    auto future = executor.submit([] {});
    EXPECT_TRUE(executor.run([] {}));
    EXPECT_TRUE(future.get());
  }
  stop = true;
  reader.join();
  testing::drain_all(executor);
  EXPECT_EQ(testing::count_of(executor.snapshot(), Outcome::kOk), 10'000U);
}

}  // namespace
}  // namespace streamgate::executor

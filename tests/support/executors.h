// SPDX-License-Identifier: Apache-2.0
//
// Executors for tests: on the backend without a device, with guards instead of patience.
#pragma once

#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "event.h"

namespace streamgate::testing {

/// So many workers and no device. The raw class's limit is the number of workers.
inline Config inline_config(std::size_t threads = 2) {
  Config config;
  config.executor.backend = "inline";
  config.executor.threads = threads;
  // A test that sets a limit counts on it.
  for (auto& gate : config.gates) gate.policy = "fixed";
  return config;
}

/// One worker, and a raw limit of 1.
inline ExecutorOptions narrow() { return {.config = inline_config(1)}; }

inline Config with_gate(Config config, OpClass op_class, std::size_t limit, std::size_t ceiling) {
  auto& gate = config.gates[policies::index_of(op_class)];
  gate.limit = limit;
  gate.ceiling = ceiling;
  return config;
}

/// Ended tasks of an outcome, over all lanes.
inline std::uint64_t count_of(const Snapshot& snapshot, Outcome outcome) {
  std::uint64_t sum = 0;
  for (const auto& lane : snapshot.lanes) sum += lane.outcomes[executor::index_of(outcome)];
  return sum;
}

/// Ended tasks, over all lanes and outcomes.
inline std::uint64_t count_of_ended(const Snapshot& snapshot) {
  std::uint64_t sum = 0;
  for (const auto& lane : snapshot.lanes) {
    for (const std::uint64_t count : lane.outcomes) sum += count;
  }
  return sum;
}

/// Nothing waits, nothing runs, no permit and no stream is held.
inline void expect_at_rest(const Snapshot& snapshot) {
  EXPECT_EQ(snapshot.queue.tasks, 0U);
  EXPECT_EQ(snapshot.queue.bytes, 0U);
  EXPECT_EQ(snapshot.streams.leased, 0U);
  for (const auto& gate : snapshot.gates) EXPECT_EQ(gate.in_use, 0U);
  for (const auto& lane : snapshot.lanes) EXPECT_EQ(lane.queued, 0U);
}

/// A task that runs until it is told to end: it holds a worker, a permit and a stream.
/// Must end before its executor does.
class Blocker {
 public:
  explicit Blocker(Executor& executor, TaskOptions options = {})
      : future_(executor.submit(options, [this] {
          started_.set();
          EXPECT_TRUE(end_.wait()) << "nobody ended a Blocker";
        })) {
    EXPECT_TRUE(started_.wait()) << "a Blocker did not start";
  }
  ~Blocker() {
    if (future_.valid()) end();
  }
  Blocker(const Blocker&) = delete;
  Blocker& operator=(const Blocker&) = delete;

  /// Lets the task end, without waiting for that.
  void let_end() { end_.set(); }
  /// Ends the task; its permit and stream are free afterwards.
  void end() {
    end_.set();
    EXPECT_EQ(future_.get().outcome(), Outcome::kOk);
  }

 private:
  Event started_;
  Event end_;
  Future<void> future_;
};

/// Waits until the executor takes no more: until its drain, or its end, has begun. May be called in
/// a task. False when the guard came first.
[[nodiscard]] inline bool wait_until_closed(Executor& executor) {
  return eventually([&] {
    auto probe = executor.submit([] {});
    if (probe.cancel() == executor::CancelResult::kCancelled || !probe.ready()) return false;
    return probe.get().outcome() == Outcome::kShutdown;
  });
}

/// Drains as a test does at its end: everything finishes, within the guard.
inline void drain_all(Executor& executor) {
  const DrainReport report = executor.drain(Drain::kFinish, kGuard);
  EXPECT_TRUE(report.drained) << report.queued << " queued, " << report.running << " running";
  EXPECT_EQ(report.queued, 0U);
  EXPECT_EQ(report.running, 0U);
  expect_at_rest(executor.snapshot());
}

}  // namespace streamgate::testing

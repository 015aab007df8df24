// SPDX-License-Identifier: Apache-2.0
//
// The first door: what submit promises of order, limits, bounds, and of every way to end.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "../support/process.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::kLanes;
using policies::WhenFull;
using testing::Blocker;
using testing::Census;
using testing::count_of;
using testing::count_of_ended;
using testing::Countdown;
using testing::drain_all;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;
using testing::narrow;
using testing::with_gate;

constexpr policies::OpClassSet kComposite = OpClass::kKernel | OpClass::kGraph;

// ---- the task itself ----

TEST(Submit, RunsOnAWorkerWithAStreamAndItsOptionsInSight) {
  Executor executor(narrow());
  const auto deadline = Clock::now() + kGuard;
  const auto caller = std::this_thread::get_id();
  auto future = executor.submit({.deadline = deadline, .name = "named"}, [&](TaskContext& context) {
    EXPECT_NE(std::this_thread::get_id(), caller);
    EXPECT_EQ(context.deadline(), deadline);
    EXPECT_EQ(context.name(), "named");
    EXPECT_FALSE(context.cancel_requested());
    EXPECT_NO_THROW(context.throw_if_cancelled());
    EXPECT_GE(context.stream(), 1U) << "slot 0 is the constructing thread's";
    return context.stream();
  });
  EXPECT_LT(future.get().value(), 32U);
}

TEST(Submit, TaskOfEveryClassHoldsThePermitsOfItsClassWhileItRuns) {
  Executor executor(narrow());
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const auto classes = policies::OpClassSet::from_lane(lane);
    const Snapshot inside =
        executor.submit({.op_class = classes}, [&] { return executor.snapshot(); }).get().value();
    for (const OpClass c : policies::kAllOpClasses) {
      EXPECT_EQ(inside.gates[index_of(c)].in_use, classes.contains(c) ? 1U : 0U) << to_string(c);
    }
    EXPECT_EQ(inside.streams.leased, 1U);
    EXPECT_EQ(executor.snapshot().lanes[lane].outcomes[index_of(Outcome::kOk)], 1U);
  }
  drain_all(executor);
}

// ---- limits ----

TEST(Submit, LimitIsReachedAndNotPassed) {
  Executor executor({.config = with_gate(inline_config(4), OpClass::kRaw, 3, 4)});
  Census census;
  Countdown together(3);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 300; ++i) {
    futures.push_back(executor.submit([&, i] {
      EXPECT_LE(census.enter(), 3U);
      EXPECT_TRUE(i >= 3 || together.arrive_and_wait()) << "fewer than the limit ran together";
      census.leave();
    }));
  }
  for (auto& future : futures) EXPECT_TRUE(future.get());
  EXPECT_EQ(census.peak(), 3U);
}

TEST(Submit, RaisedLimitReleasesQueuedTasks) {
  Executor executor({.config = with_gate(inline_config(4), OpClass::kRaw, 1, 4)});
  Blocker blocker(executor);
  Countdown together(3);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(executor.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); }));
  }
  EXPECT_EQ(executor.snapshot().queue.tasks, 3U);
  EXPECT_EQ(executor.set_limit(OpClass::kRaw, 4), 4U);
  for (auto& future : futures) EXPECT_TRUE(future.wait_for(kGuard)) << "nobody was released";
}

TEST(Submit, RaisedLimitOfAnotherClassReleasesCallersAndTasksOfThatClass) {
  Executor executor({.config = with_gate(inline_config(3), OpClass::kGraph, 1, 3)});
  Blocker blocker(executor, {.op_class = OpClass::kGraph});
  auto queued = executor.submit({.op_class = OpClass::kGraph}, [] {});
  std::jthread caller([&] { EXPECT_TRUE(executor.run({.op_class = OpClass::kGraph}, [] {})); });
  ASSERT_TRUE(eventually([&] { return executor.snapshot().queue.tasks == 2; }));
  executor.set_limit(OpClass::kGraph, 3);
  EXPECT_TRUE(queued.wait_for(kGuard));
  caller.join();
}

TEST(Submit, LoweredLimitLetsRunningDrain) {
  Executor executor({.config = inline_config(4)});
  std::optional<Blocker> first(executor);
  std::optional<Blocker> second(executor);
  std::optional<Blocker> third(executor);
  EXPECT_EQ(executor.set_limit(OpClass::kRaw, 1), 1U);
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 3U);
  EXPECT_EQ(executor.snapshot().gates[0].limit, 1U);
  auto next = executor.submit([] { return 1; });
  first.reset();
  second.reset();
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 1U);
  EXPECT_EQ(executor.snapshot().queue.tasks, 1U) << "admitted above the lowered limit";
  third.reset();
  EXPECT_EQ(next.get().value(), 1);
}

TEST(Submit, LimitIsClampedToOneAndTheCeiling) {
  Executor executor({.config = with_gate(inline_config(2), OpClass::kRaw, 2, 3)});
  EXPECT_EQ(executor.set_limit(OpClass::kRaw, 0), 1U);
  EXPECT_EQ(executor.set_limit(OpClass::kRaw, 99), 3U);
  EXPECT_EQ(executor.snapshot().gates[0].limit, 3U);
  EXPECT_EQ(executor.submit([] { return 1; }).get().value(), 1);
}

TEST(Submit, LimitsMovedAllTheTimeLoseNobody) {
  Executor executor({.config = with_gate(inline_config(3), OpClass::kRaw, 1, 3)});
  std::atomic<bool> stop{false};
  std::jthread mover([&] {
    for (std::size_t i = 0; !stop.load(); ++i) executor.set_limit(OpClass::kRaw, 1 + i % 3);
  });
  for (int round = 0; round < 200; ++round) {
    std::array<Future<void>, 20> futures;
    for (auto& future : futures) future = executor.submit([] {});
    for (auto& future : futures) ASSERT_TRUE(future.wait_for(kGuard)) << "forgotten in the queue";
  }
  stop = true;
  mover.join();
  drain_all(executor);
}

// ---- classes beside each other ----

TEST(Submit, ExclusiveTaskIsAlone) {
  Executor executor({.config = inline_config(4)});
  Census others;
  Census exclusive;
  std::vector<Future<void>> futures;
  for (int i = 0; i < 400; ++i) {
    if (i % 10 == 0) {
      futures.push_back(executor.submit({.op_class = OpClass::kExclusive}, [&] {
        EXPECT_EQ(exclusive.enter(), 1U);
        EXPECT_EQ(others.inside(), 0U);
        exclusive.leave();
      }));
    } else {
      const auto classes = policies::OpClassSet::from_lane(static_cast<std::size_t>(i) % 4);
      futures.push_back(executor.submit({.op_class = classes}, [&] {
        others.enter();
        EXPECT_EQ(exclusive.inside(), 0U);
        others.leave();
      }));
    }
  }
  for (auto& future : futures) EXPECT_TRUE(future.get());
  EXPECT_EQ(exclusive.peak(), 1U);
}

TEST(Submit, ExclusiveTaskWaitsForTheOthersAndHoldsBackThoseBehindIt) {
  Executor executor({.config = inline_config(3)});
  Blocker raw(executor);
  Blocker graph(executor, {.op_class = OpClass::kGraph});
  Event exclusive_runs;
  Event end;
  auto exclusive = executor.submit({.op_class = OpClass::kExclusive}, [&] {
    exclusive_runs.set();
    EXPECT_TRUE(end.wait());
  });
  auto behind = executor.submit([] {});
  raw.end();
  EXPECT_EQ(executor.snapshot().queue.tasks, 2U) << "somebody overtook the exclusive task";
  graph.end();
  ASSERT_TRUE(exclusive_runs.wait());
  EXPECT_FALSE(behind.ready());
  end.set();
  EXPECT_TRUE(exclusive.get());
  EXPECT_TRUE(behind.get());
}

TEST(Submit, IncompatibleClassesNeverOverlap) {
  auto config = with_gate(inline_config(4), OpClass::kGraph, 2, 2);
  config = with_gate(config, OpClass::kKernel, 2, 2);
  Executor executor({.config = config, .incompatible = {{OpClass::kGraph, OpClass::kRaw}}});
  Census raw;
  Census graph;
  std::vector<Future<void>> futures;
  for (int i = 0; i < 600; ++i) {
    if (i % 2 == 0) {
      futures.push_back(executor.submit([&] {
        raw.enter();
        EXPECT_EQ(graph.inside(), 0U);
        raw.leave();
      }));
    } else {
      const policies::OpClassSet classes = i % 4 == 1 ? OpClassSet(OpClass::kGraph) : kComposite;
      futures.push_back(executor.submit({.op_class = classes}, [&] {
        graph.enter();
        EXPECT_EQ(raw.inside(), 0U);
        graph.leave();
      }));
    }
  }
  for (auto& future : futures) EXPECT_TRUE(future.get());
}

TEST(Submit, FullClassDoesNotHoldBackAnother) {
  Executor executor({.config = inline_config(2)});
  Blocker graph(executor, {.op_class = OpClass::kGraph});
  auto waiting = executor.submit({.op_class = OpClass::kGraph}, [] {});
  EXPECT_TRUE(executor.submit([] {}).get());
  EXPECT_FALSE(waiting.ready());
}

// ---- order ----

TEST(Submit, PrioritiesAndDeadlinesOrderExecution) {
  Executor executor(narrow());
  Blocker blocker(executor);
  const auto in_hours = [](int hours) { return Clock::now() + std::chrono::hours(hours); };
  const std::vector<TaskOptions> options = {
      {.priority = Priority::kLow},
      {.deadline = in_hours(9)},
      {},
      {.priority = Priority::kHighest},
      {.priority = Priority::kHigh},
      {.deadline = in_hours(5)},
      {.priority = Priority::kHigh, .deadline = in_hours(7)},
      {.priority = Priority::kLowest, .deadline = in_hours(1)},
      {},
  };
  std::vector<int> order;
  for (int i = 0; i < static_cast<int>(options.size()); ++i) {
    (void)executor.submit(options[static_cast<std::size_t>(i)],
                          [&order, i] { order.push_back(i); });
  }
  blocker.end();
  drain_all(executor);
  EXPECT_EQ(order, (std::vector<int>{3, 6, 4, 5, 1, 2, 8, 0, 7}));
}

TEST(Submit, EqualsRunInTheOrderOfSubmission) {
  Executor executor(narrow());
  std::vector<int> order;
  for (int i = 0; i < 1'000; ++i) (void)executor.submit([&order, i] { order.push_back(i); });
  drain_all(executor);
  ASSERT_EQ(order.size(), 1'000U);
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Submit, UrgentTaskIsNextEvenBehindALongQueue) {
  Executor executor(narrow());
  for (int round = 0; round < 50; ++round) {
    Blocker blocker(executor);
    std::vector<int> order;
    for (int i = 0; i < 20; ++i) (void)executor.submit([&] { order.push_back(0); });
    executor.set_limit(OpClass::kRaw, 1);  // They have their places before the urgent one comes.
    (void)executor.submit({.priority = Priority::kHigh}, [&] { order.push_back(1); });
    blocker.end();
    ASSERT_TRUE(executor.submit({.priority = Priority::kLowest}, [] {}).get());
    ASSERT_EQ(order.size(), 21U);
    ASSERT_EQ(order.front(), 1);
  }
}

// ---- bounds ----

TEST(Submit, FullQueueRejectsAtOnceAndTakesAgainWhenThereIsRoom) {
  auto options = narrow();
  options.config.queue.max_tasks = 2;
  Executor executor(std::move(options));
  Blocker blocker(executor);
  auto first = executor.submit([] { return 1; });
  auto second = executor.submit([] { return 2; });
  bool ran = false;
  auto third = executor.submit([&] { ran = true; });
  EXPECT_TRUE(third.ready()) << "a rejection does not wait";
  EXPECT_EQ(third.get().outcome(), Outcome::kQueueFull);
  EXPECT_EQ(second.cancel(), CancelResult::kCancelled);
  auto fourth = executor.submit([] { return 4; });
  blocker.end();
  EXPECT_EQ(first.get().value(), 1);
  EXPECT_EQ(fourth.get().value(), 4);
  EXPECT_FALSE(ran);
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kQueueFull), 1U);
}

TEST(Submit, QueueFullOfBytesRejectsAtOnce) {
  auto options = narrow();
  options.config.queue.max_bytes = 100;
  Executor executor(std::move(options));
  Blocker blocker(executor, {.cost_bytes = 100});
  auto first = executor.submit({.cost_bytes = 70}, [] {});
  EXPECT_EQ(executor.snapshot().queue.bytes, 70U) << "what runs is not in the queue";
  EXPECT_EQ(executor.submit({.cost_bytes = 31}, [] {}).get().outcome(), Outcome::kBytesFull);
  EXPECT_EQ(executor.submit({.cost_bytes = 101}, [] {}).get().outcome(), Outcome::kBytesFull);
  EXPECT_EQ(executor.submit({.cost_bytes = ~std::size_t{0}}, [] {}).get().outcome(),
            Outcome::kBytesFull);
  auto fits = executor.submit({.cost_bytes = 30}, [] {});
  blocker.end();
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(fits.get());
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kBytesFull), 3U);
}

TEST(Submit, FullQueueShedsTheLowestPriorityWhenToldTo) {
  auto options = narrow();
  options.config.queue.max_tasks = 2;
  options.config.queue.when_full = WhenFull::kShedLowest;
  Executor executor(std::move(options));
  Blocker blocker(executor);
  auto low = executor.submit({.priority = Priority::kLow}, [] {});
  auto normal = executor.submit([] {});
  auto equal = executor.submit({.priority = Priority::kLow}, [] {});
  EXPECT_EQ(equal.get().outcome(), Outcome::kQueueFull) << "nobody gives way to an equal";
  auto high = executor.submit({.priority = Priority::kHigh}, [] {});
  EXPECT_TRUE(low.ready());
  EXPECT_EQ(low.get().outcome(), Outcome::kShed);
  auto highest = executor.submit({.priority = Priority::kHighest}, [] {});
  EXPECT_EQ(normal.get().outcome(), Outcome::kShed);
  EXPECT_EQ(executor.submit({.priority = Priority::kHigh}, [] {}).get().outcome(),
            Outcome::kQueueFull);
  blocker.end();
  EXPECT_TRUE(high.get());
  EXPECT_TRUE(highest.get());
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kShed), 2U);
}

TEST(Submit, ParkedTasksCostNoThread) {
  constexpr std::size_t kParked = 100'000;
  Executor executor(narrow());
  Blocker blocker(executor);
  const auto threads_before = testing::thread_count();
  std::atomic<std::size_t> ran{0};
  for (std::size_t i = 0; i < kParked; ++i) {
    (void)executor.submit([&] { ran.fetch_add(1, std::memory_order_relaxed); });
  }
  EXPECT_EQ(executor.snapshot().queue.tasks, kParked);
  EXPECT_EQ(testing::thread_count(), threads_before);
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 1U);
  blocker.end();
  drain_all(executor);
  EXPECT_EQ(ran.load(), kParked);
}

TEST(Submit, AMillionTasksIntoAQueueOfAThousandHaveOneOutcomeEach) {
  constexpr std::size_t kTasks = 1'000'000;
  auto options = narrow();
  options.config.queue.max_tasks = 1'000;
  Executor executor(std::move(options));
  std::atomic<std::uint64_t> ran{0};
  std::vector<Future<void>> futures(kTasks);
  for (auto& future : futures) {
    future = executor.submit([&] { ran.fetch_add(1, std::memory_order_relaxed); });
  }
  std::array<std::uint64_t, kOutcomes> outcomes{};
  for (auto& future : futures) ++outcomes[index_of(future.get().outcome())];
  drain_all(executor);
  EXPECT_EQ(outcomes[index_of(Outcome::kOk)] + outcomes[index_of(Outcome::kQueueFull)], kTasks);
  EXPECT_EQ(outcomes[index_of(Outcome::kOk)], ran.load());
  EXPECT_GE(ran.load(), 1'000U);
  const Snapshot snapshot = executor.snapshot();
  EXPECT_EQ(count_of(snapshot, Outcome::kOk), ran.load());
  EXPECT_EQ(count_of(snapshot, Outcome::kQueueFull), outcomes[index_of(Outcome::kQueueFull)]);
  EXPECT_EQ(count_of_ended(snapshot), kTasks);
}

// ---- deadlines ----

TEST(Submit, DeadlineInThePastExpiresAtOnce) {
  Executor executor(narrow());
  bool ran = false;
  for (const auto deadline : {Clock::time_point::min(), Clock::time_point{},
                              Clock::now() - std::chrono::nanoseconds(1)}) {
    auto future = executor.submit({.deadline = deadline}, [&] { ran = true; });
    EXPECT_TRUE(future.ready());
    EXPECT_EQ(future.get().outcome(), Outcome::kExpired);
  }
  drain_all(executor);
  EXPECT_FALSE(ran);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kExpired), 3U);
}

TEST(Submit, DeadlineExpiresATaskBehindAFullGateWithoutAWorker) {
  Executor executor(narrow());
  Blocker blocker(executor);
  bool ran = false;
  const auto deadline = Clock::now() + std::chrono::milliseconds(20);
  auto future = executor.submit({.deadline = deadline, .cost_bytes = 10}, [&] { ran = true; });
  EXPECT_FALSE(future.ready());
  EXPECT_EQ(future.get().outcome(), Outcome::kExpired) << "while the only worker is at work";
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_EQ(executor.snapshot().queue.tasks, 0U);
  EXPECT_EQ(executor.snapshot().queue.bytes, 0U);
  blocker.end();
  drain_all(executor);
  EXPECT_FALSE(ran);
}

TEST(Submit, EarlierDeadlineThatComesLaterIsKeptToo) {
  Executor executor(narrow());
  Blocker blocker(executor);
  auto never =
      executor.submit({.deadline = Clock::now() + std::chrono::hours(1)}, [] { return 1; });
  auto late = executor.submit({.deadline = Clock::now() + std::chrono::milliseconds(60)}, [] {});
  auto soon = executor.submit({.deadline = Clock::now() + std::chrono::milliseconds(10)}, [] {});
  EXPECT_EQ(soon.get().outcome(), Outcome::kExpired);
  EXPECT_EQ(late.get().outcome(), Outcome::kExpired);
  EXPECT_FALSE(never.ready());
  blocker.end();
  EXPECT_EQ(never.get().value(), 1);
}

TEST(Submit, ExpiredTaskNoLongerHoldsBackThoseBehindIt) {
  Executor executor({.config = inline_config(2)});
  Blocker blocker(executor);
  auto exclusive = executor.submit(
      {.op_class = OpClass::kExclusive, .deadline = Clock::now() + std::chrono::milliseconds(20)},
      [] {});
  auto behind = executor.submit([] { return 1; });
  EXPECT_EQ(exclusive.get().outcome(), Outcome::kExpired);
  EXPECT_EQ(behind.get().value(), 1) << "beside the task that the exclusive one waited for";
}

TEST(Submit, DeadlinesOfManyTasksAtOnceAllExpire) {
  Executor executor(narrow());
  Blocker blocker(executor);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 2'000; ++i) {
    futures.push_back(executor.submit({.deadline = Clock::now() + std::chrono::milliseconds(10) +
                                                   std::chrono::microseconds(i % 7)},
                                      [] {}));
  }
  for (auto& future : futures) EXPECT_EQ(future.get().outcome(), Outcome::kExpired);
}

/// The timer ends expired tasks itself; held up in a continuation, it leaves that to the workers.
void task_that_starts_late_expires(bool metrics) {
  auto options = narrow();
  options.config.metrics.enabled = metrics;
  Executor executor(std::move(options));
  std::optional<Blocker> blocker(executor);
  Event timer_is_held;
  Event let_timer_go;
  auto held = executor.submit({.deadline = Clock::now() + std::chrono::milliseconds(1)}, [] {})
                  .then([&](Result<void>) {
                    timer_is_held.set();
                    EXPECT_TRUE(let_timer_go.wait());
                  });
  ASSERT_TRUE(timer_is_held.wait());
  const auto deadline = Clock::now() + std::chrono::milliseconds(5);
  bool ran = false;
  auto late = executor.submit({.deadline = deadline}, [&] { ran = true; });
  ASSERT_TRUE(eventually([&] { return Clock::now() > deadline; }));
  blocker.reset();
  EXPECT_EQ(late.get().outcome(), Outcome::kExpired);
  EXPECT_FALSE(ran);
  let_timer_go.set();
  EXPECT_TRUE(held.get());
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kExpired), 2U);
}

TEST(Submit, TaskNeverStartsAfterItsDeadline) { task_that_starts_late_expires(true); }
TEST(Submit, TaskNeverStartsAfterItsDeadlineWithoutMetricsEither) {
  task_that_starts_late_expires(false);
}

TEST(Submit, TaskNeverStartsAfterItsDeadlineBehindALongContinuation) {
  Executor executor(narrow());
  std::optional<Blocker> blocker(executor);
  Event timer_is_held;
  Event let_timer_go;
  auto held = executor.submit({.deadline = Clock::now() + std::chrono::milliseconds(1)}, [] {})
                  .then([&](Result<void>) {
                    timer_is_held.set();
                    EXPECT_TRUE(let_timer_go.wait());
                  });
  ASSERT_TRUE(timer_is_held.wait());
  std::optional<Clock::time_point> deadline;
  auto before = executor.submit({.priority = Priority::kHigh}, [] {}).then([&](Result<void>) {
    EXPECT_TRUE(eventually([&] { return Clock::now() > *deadline; }));
  });
  deadline = Clock::now() + std::chrono::milliseconds(20);
  bool ran = false;
  auto late = executor.submit({.deadline = *deadline}, [&] { ran = true; });
  blocker.reset();
  EXPECT_EQ(late.get().outcome(), Outcome::kExpired);
  EXPECT_FALSE(ran);
  let_timer_go.set();
  EXPECT_TRUE(held.get());
  EXPECT_TRUE(before.get());
}

// ---- stop_token ----

TEST(Submit, StopRequestedBeforeSubmissionCancelsAtOnce) {
  Executor executor(narrow());
  std::stop_source stop;
  stop.request_stop();
  bool ran = false;
  auto future = executor.submit({.stop = stop.get_token()}, [&] { ran = true; });
  EXPECT_TRUE(future.ready());
  EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
  drain_all(executor);
  EXPECT_FALSE(ran);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kCancelled), 1U);
}

TEST(Submit, StopRequestedWhileQueuedCancelsAtOnce) {
  Executor executor(narrow());
  Blocker blocker(executor);
  std::stop_source stop;
  auto in_inbox = executor.submit({.stop = stop.get_token()}, [] {});
  stop.request_stop();
  EXPECT_TRUE(in_inbox.ready());
  EXPECT_EQ(in_inbox.get().outcome(), Outcome::kCancelled);
  std::stop_source stop_too;
  auto in_place = executor.submit({.stop = stop_too.get_token()}, [] {});
  executor.set_limit(OpClass::kRaw, 1);  // Sorts the inbox.
  stop_too.request_stop();
  EXPECT_TRUE(in_place.ready());
  EXPECT_EQ(in_place.get().outcome(), Outcome::kCancelled);
  EXPECT_EQ(executor.snapshot().queue.tasks, 0U);
  blocker.end();
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kCancelled), 2U);
}

TEST(Submit, StopRequestedWhileRunningAsksTheTaskToLeave) {
  Executor executor(narrow());
  std::stop_source stop;
  Event started;
  Event asked;
  auto future = executor.submit({.stop = stop.get_token()}, [&](TaskContext& context) {
    started.set();
    EXPECT_TRUE(asked.wait());
    context.throw_if_cancelled();
  });
  ASSERT_TRUE(started.wait());
  stop.request_stop();
  asked.set();
  EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
}

TEST(Submit, StopRequestedAfterTheEndChangesNothing) {
  Executor executor(narrow());
  std::stop_source stop;
  auto future = executor.submit({.stop = stop.get_token()}, [] { return 1; });
  ASSERT_TRUE(future.wait_for(kGuard));
  stop.request_stop();
  EXPECT_EQ(future.get().value(), 1);
}

TEST(Submit, OneStopTokenCancelsManyTasks) {
  Executor executor(narrow());
  Blocker blocker(executor);
  std::stop_source stop;
  std::vector<Future<void>> futures;
  for (int i = 0; i < 1'000; ++i) {
    futures.push_back(executor.submit({.stop = stop.get_token()}, [] {}));
    if (i == 500) executor.set_limit(OpClass::kRaw, 1);  // Half of them in their places.
  }
  stop.request_stop();
  for (auto& future : futures) {
    ASSERT_TRUE(future.ready());
    ASSERT_EQ(future.get().outcome(), Outcome::kCancelled);
  }
}

TEST(Submit, StopRacesWithTheWholeLifeOfATask) {
  Executor executor({.config = inline_config(2)});
  std::array<std::uint64_t, kOutcomes> outcomes{};
  constexpr int kRounds = 1'500;
  for (int i = 0; i < kRounds; ++i) {
    std::stop_source stop;
    Countdown start(2);
    std::jthread stopper([&] {
      EXPECT_TRUE(start.arrive_and_wait());
      stop.request_stop();
    });
    EXPECT_TRUE(start.arrive_and_wait());
    auto future = executor.submit({.stop = stop.get_token()},
                                  [](TaskContext& context) { context.throw_if_cancelled(); });
    if (i % 3 == 0) future = {};  // Nobody but the executor holds the task.
    if (future.valid()) ++outcomes[index_of(future.get().outcome())];
  }
  drain_all(executor);
  EXPECT_EQ(outcomes[index_of(Outcome::kOk)] + outcomes[index_of(Outcome::kCancelled)],
            static_cast<std::uint64_t>(kRounds - kRounds / 3));
  EXPECT_EQ(count_of_ended(executor.snapshot()), static_cast<std::uint64_t>(kRounds));
}

// ---- failing ----

TEST(Submit, FailureIsCountedAndTheExecutorGoesOn) {
  Executor executor(narrow());
  for (int i = 0; i < 10; ++i) {
    auto future = executor.submit([]() -> int { throw 42; });
    EXPECT_THROW((void)future.get(), int);
  }
  EXPECT_EQ(executor.submit([] { return 1; }).get().value(), 1);
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kFailed), 10U);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kOk), 1U);
}

TEST(Submit, TaskThatThrowsCancelledByItselfIsCancelled) {
  Executor executor(narrow());
  EXPECT_EQ(executor.submit([] { throw Cancelled{}; }).get().outcome(), Outcome::kCancelled);
}

TEST(Submit, CallableThatCannotBeCopiedInThrowsHereAndLeavesNothingBehind) {
  struct Throws {
    Throws() = default;
    Throws(const Throws&) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  Executor executor(narrow());
  const Throws callable;
  EXPECT_THROW((void)executor.submit(callable), std::runtime_error);
  drain_all(executor);
  EXPECT_EQ(count_of_ended(executor.snapshot()), 0U);
}

// ---- many threads ----

TEST(Submit, ManyThreadsSubmitAndEveryTaskRunsOnce) {
  Executor executor({.config = inline_config(2)});
  constexpr std::size_t kThreads = 8;
  constexpr std::size_t kEach = 2'000;
  std::vector<std::atomic<int>> ran(kThreads * kEach);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < kEach; ++i) {
          (void)executor.submit([&slot = ran[t * kEach + i]] { slot.fetch_add(1); });
        }
      });
    }
  }
  drain_all(executor);
  for (const auto& count : ran) ASSERT_EQ(count.load(), 1);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kOk), kThreads * kEach);
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The second door: run works on its caller's thread, at once or in its turn, and is in every other
// way the same task.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
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

/// Waits until so many tasks, of which a caller's came last, have their place in the queue. What the
/// queue counts as its tasks is known a moment earlier, before they have arrived.
[[nodiscard]] bool parked(const Executor& executor, std::size_t tasks) {
  return eventually([&] {
    const Snapshot snapshot = executor.snapshot();
    std::size_t placed = 0;
    for (const auto& lane : snapshot.lanes) placed += lane.queued;
    return placed == tasks;
  });
}

TEST(Run, RunsOnItsCallersThreadWithPermitAndStream) {
  Executor executor(narrow());
  const auto here = std::this_thread::get_id();
  const auto result = executor.run({.name = "named"}, [&](TaskContext& context) {
    EXPECT_EQ(std::this_thread::get_id(), here);
    EXPECT_EQ(context.name(), "named");
    const Snapshot inside = executor.snapshot();
    EXPECT_EQ(inside.gates[0].in_use, 1U);
    EXPECT_EQ(inside.streams.leased, 1U);
    EXPECT_EQ(context.stream(), 0U) << "this thread constructed the executor";
    return 42;
  });
  EXPECT_EQ(result.value(), 42);
  testing::expect_at_rest(executor.snapshot());
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kOk), 1U);
}

TEST(Run, OtherThreadsGetOtherStreams) {
  Executor executor(narrow());
  std::jthread([&] {
    const auto stream = executor.run([](TaskContext& context) { return context.stream(); });
    EXPECT_GE(stream.value(), 1U);
  }).join();
}

TEST(Run, ConstructingThreadGetsAnotherStreamWhileItsOwnIsOut) {
  Executor executor({.config = with_gate(inline_config(2), OpClass::kRaw, 4, 4)});
  // A nested run shares the stream of the outer one; so the two are taken by two threads.
  const auto stream = executor.run([&](TaskContext& outer) {
    EXPECT_EQ(outer.stream(), 0U);
    std::size_t other = 0;
    std::jthread([&] {
      other = executor.run([](TaskContext& context) { return context.stream(); }).value();
    }).join();
    return other;
  });
  EXPECT_EQ(stream.value(), 1U);
}

TEST(Run, HandsOutWhatTheCallableReturns) {
  Executor executor(narrow());
  EXPECT_TRUE(executor.run([] {}));
  EXPECT_EQ(*executor.run([] { return std::make_unique<int>(3); }).value(), 3);
  const auto by_reference = [calls = 0]() mutable { return ++calls; };
  auto callable = by_reference;
  EXPECT_EQ(executor.run(callable).value(), 1);
  EXPECT_EQ(executor.run(callable).value(), 2) << "it is called where it lies, not copied";
}

TEST(Run, RethrowsWhatTheCallableThrows) {
  Executor executor(narrow());
  EXPECT_THROW((void)executor.run([] { throw std::out_of_range("mine"); }), std::out_of_range);
  try {
    (void)executor.run([]() -> int { throw 42; });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const int thrown) {
    EXPECT_EQ(thrown, 42);
  }
  testing::expect_at_rest(executor.snapshot());
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kFailed), 2U);
  EXPECT_TRUE(executor.run([] {}));
}

TEST(Run, WaitsForItsTurnWhenNoPermitIsFree) {
  Executor executor(narrow());
  Blocker blocker(executor);
  std::atomic<bool> ran{false};
  std::thread::id ran_on;
  std::jthread caller([&] {
    EXPECT_TRUE(executor.run([&] {
      ran_on = std::this_thread::get_id();
      ran = true;
    }));
  });
  ASSERT_TRUE(parked(executor, 1));
  EXPECT_FALSE(ran.load());
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 1U);
  const auto caller_id = caller.get_id();
  blocker.end();
  caller.join();
  EXPECT_TRUE(ran.load());
  EXPECT_EQ(ran_on, caller_id);
  drain_all(executor);
}

TEST(Run, RethrowsAfterItsTurnToo) {
  Executor executor(narrow());
  Blocker blocker(executor);
  std::jthread caller([&] {
    EXPECT_THROW((void)executor.run([] { throw std::out_of_range("mine"); }), std::out_of_range);
  });
  ASSERT_TRUE(parked(executor, 1));
  blocker.end();
  caller.join();
  drain_all(executor);
}

TEST(Run, RunAndSubmitTakeTurnsInTheOrderOfTheirArrival) {
  Executor executor(narrow());
  for (int round = 0; round < 100; ++round) {
    std::optional<Blocker> blocker(executor);
    std::vector<int> order;
    std::vector<std::jthread> callers;
    std::vector<Future<void>> futures;
    for (int i = 0; i < 6; ++i) {
      const auto append = [&order, i] { order.push_back(i); };
      if (i % 2 == 0) {
        futures.push_back(executor.submit(append));
      } else {
        callers.emplace_back([&executor, append] { EXPECT_TRUE(executor.run(append)); });
        ASSERT_TRUE(parked(executor, static_cast<std::size_t>(i) + 1));
      }
    }
    blocker.reset();
    callers.clear();
    for (auto& future : futures) EXPECT_TRUE(future.get());
    ASSERT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5})) << "in round " << round;
  }
}

TEST(Run, PriorityAndDeadlineOrderCallersAndTasksAlike) {
  Executor executor(narrow());
  std::optional<Blocker> blocker(executor);
  std::vector<int> order;
  std::vector<std::jthread> callers;
  std::size_t waiting = 0;
  const auto call = [&](TaskOptions options, int number) {
    callers.emplace_back([&, options, number] {
      EXPECT_TRUE(executor.run(options, [&] { order.push_back(number); }));
    });
    ASSERT_TRUE(parked(executor, ++waiting));
  };
  const auto submit = [&](TaskOptions options, int number) {
    (void)executor.submit(options, [&order, number] { order.push_back(number); });
    ++waiting;
  };
  call({.priority = Priority::kLow}, 5);
  submit({}, 3);
  call({}, 4);
  submit({.priority = Priority::kHigh}, 1);
  call({.priority = Priority::kHighest}, 0);
  call({.deadline = Clock::now() + std::chrono::hours(1)}, 2);
  submit({.priority = Priority::kLowest}, 6);
  blocker.reset();
  callers.clear();
  drain_all(executor);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6}));
}

TEST(Run, NewCallerDoesNotOvertakeThoseWhoWait) {
  Executor executor({.config = inline_config(2)});
  Blocker raw(executor);
  // The exclusive one waits for the blocker; a raw caller has a permit free, and may still not go.
  auto exclusive = executor.submit({.op_class = OpClass::kExclusive}, [] {});
  std::atomic<bool> ran{false};
  std::jthread caller([&] { EXPECT_TRUE(executor.run([&] { ran = true; })); });
  ASSERT_TRUE(parked(executor, 2));
  EXPECT_FALSE(ran.load());
  raw.end();
  EXPECT_TRUE(exclusive.get());
  caller.join();
}

TEST(Run, CallerOfAnotherClassMayOvertake) {
  Executor executor({.config = inline_config(1)});
  Blocker raw(executor);
  auto waiting = executor.submit([] {});
  executor.set_limit(OpClass::kRaw, 1);  // It has its place, so that its class is known.
  EXPECT_TRUE(executor.run({.op_class = OpClass::kGraph}, [] {})) << "nobody waits for graph";
  EXPECT_FALSE(waiting.ready());
}

TEST(Run, RunsBesideBusyWorkersWhileAPermitIsFree) {
  Executor executor({.config = with_gate(inline_config(1), OpClass::kRaw, 2, 2)});
  Blocker blocker(executor);
  EXPECT_TRUE(executor.run([] {})) << "its own thread is a worker's";
}

TEST(Run, LimitHoldsForBothDoorsTogether) {
  Executor executor({.config = with_gate(inline_config(2), OpClass::kRaw, 3, 3)});
  Census census;
  const auto work = [&] {
    EXPECT_LE(census.enter(), 3U);
    census.leave();
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1'000; ++i) {
          EXPECT_TRUE(executor.run(work));
          if (i % 2 == 0) (void)executor.submit(work);
        }
      });
    }
  }
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kOk), 9'000U);
}

// ---- ways to end without running ----

TEST(Run, DeadlineInThePastExpiresAtOnce) {
  Executor executor(narrow());
  bool ran = false;
  EXPECT_EQ(executor.run({.deadline = Clock::time_point::min()}, [&] { ran = true; }).outcome(),
            Outcome::kExpired);
  EXPECT_FALSE(ran);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kExpired), 1U);
}

TEST(Run, DeadlineEndsTheWaitForATurn) {
  Executor executor(narrow());
  Blocker blocker(executor);
  bool ran = false;
  const auto deadline = Clock::now() + std::chrono::milliseconds(20);
  EXPECT_EQ(executor.run({.deadline = deadline}, [&] { ran = true; }).outcome(), Outcome::kExpired);
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_FALSE(ran);
  EXPECT_EQ(executor.snapshot().queue.tasks, 0U);
}

TEST(Run, DeadlineDoesNotEndWhatRuns) {
  Executor executor(narrow());
  const auto deadline = Clock::now() + std::chrono::milliseconds(100);
  const auto result = executor.run({.deadline = deadline}, [&] {
    EXPECT_TRUE(eventually([&] { return Clock::now() > deadline; }));
    return 1;
  });
  EXPECT_EQ(result.value(), 1);
}

TEST(Run, StopRequestedBeforeCancelsAtOnce) {
  Executor executor(narrow());
  std::stop_source stop;
  stop.request_stop();
  bool ran = false;
  EXPECT_EQ(executor.run({.stop = stop.get_token()}, [&] { ran = true; }).outcome(),
            Outcome::kCancelled);
  EXPECT_FALSE(ran);
}

TEST(Run, StopEndsTheWaitForATurn) {
  Executor executor(narrow());
  Blocker blocker(executor);
  std::stop_source stop;
  std::jthread caller([&] {
    EXPECT_EQ(executor.run({.stop = stop.get_token(), .cost_bytes = 5}, [] {}).outcome(),
              Outcome::kCancelled);
  });
  ASSERT_TRUE(parked(executor, 1));
  stop.request_stop();
  caller.join();
  EXPECT_EQ(executor.snapshot().queue.tasks, 0U);
  EXPECT_EQ(executor.snapshot().queue.bytes, 0U);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kCancelled), 1U);
}

TEST(Run, StopAsksWhatRunsToLeave) {
  Executor executor(narrow());
  std::stop_source stop;
  const auto result = executor.run({.stop = stop.get_token()}, [&](TaskContext& context) {
    EXPECT_FALSE(context.cancel_requested());
    stop.request_stop();
    EXPECT_TRUE(context.cancel_requested());
    context.throw_if_cancelled();
  });
  EXPECT_EQ(result.outcome(), Outcome::kCancelled);
}

TEST(Run, StopRacesWithACallerThatIsBeingParked) {
  Executor executor(narrow());
  Blocker blocker(executor);
  for (int i = 0; i < 2'000; ++i) {
    std::stop_source stop;
    Countdown start(2);
    std::jthread caller([&] {
      EXPECT_TRUE(start.arrive_and_wait());
      EXPECT_EQ(executor.run({.stop = stop.get_token()}, [] {}).outcome(), Outcome::kCancelled);
    });
    EXPECT_TRUE(start.arrive_and_wait());
    for (int spin = i % 400; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
    stop.request_stop();
  }
  EXPECT_EQ(executor.snapshot().queue.tasks, 0U);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kCancelled), 2'000U);
}

TEST(Run, FullQueueRejectsAtOnce) {
  auto options = narrow();
  options.config.queue.max_tasks = 1;
  options.config.queue.max_bytes = 10;
  Executor executor(std::move(options));
  Blocker blocker(executor);
  EXPECT_EQ(executor.run({.cost_bytes = 11}, [] {}).outcome(), Outcome::kBytesFull);
  auto queued = executor.submit([] {});
  EXPECT_EQ(executor.run([] {}).outcome(), Outcome::kQueueFull);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kQueueFull), 1U);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kBytesFull), 1U);
}

TEST(Run, FullQueueIsNoMatterWhileAPermitIsFree) {
  auto options = narrow();
  options.config.queue.max_tasks = 1;
  options.config.queue.max_bytes = 1;
  Executor executor(std::move(options));
  EXPECT_TRUE(executor.run({.cost_bytes = 1'000}, [] {})) << "it does not queue";
}

TEST(Run, ParkedCallerIsShedForAMoreImportantTask) {
  auto options = narrow();
  options.config.queue.max_tasks = 1;
  options.config.queue.when_full = WhenFull::kShedLowest;
  Executor executor(std::move(options));
  Blocker blocker(executor);
  std::jthread caller([&] {
    EXPECT_EQ(executor.run({.priority = Priority::kLow}, [] {}).outcome(), Outcome::kShed);
  });
  ASSERT_TRUE(parked(executor, 1));
  auto high = executor.submit({.priority = Priority::kHigh}, [] {});
  caller.join();
  blocker.end();
  EXPECT_TRUE(high.get());
}

TEST(Run, CallerMayShedATaskToo) {
  auto options = narrow();
  options.config.queue.max_tasks = 1;
  options.config.queue.when_full = WhenFull::kShedLowest;
  Executor executor(std::move(options));
  std::optional<Blocker> blocker(executor);
  auto low = executor.submit({.priority = Priority::kLow}, [] {});
  std::jthread caller([&] { EXPECT_TRUE(executor.run([] {})); });
  EXPECT_EQ(low.get().outcome(), Outcome::kShed);
  blocker.reset();
}

TEST(Run, AfterADrainItIsRejected) {
  Executor executor(narrow());
  drain_all(executor);
  bool ran = false;
  EXPECT_EQ(executor.run([&] { ran = true; }).outcome(), Outcome::kShutdown);
  EXPECT_FALSE(ran);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kShutdown), 1U);
}

// ---- exclusive ----

TEST(Run, ExclusiveIsNotStarvedByRawLoadFromBothDoors) {
  for (const std::size_t workers : {1U, 2U}) {
    Executor executor({.config = with_gate(inline_config(workers), OpClass::kRaw, 4, 4)});
    std::atomic<bool> stop{false};
    Census raw;
    const auto work = [&] {
      raw.enter();
      raw.leave();
    };
    std::vector<std::jthread> load;
    for (int t = 0; t < 3; ++t) {
      load.emplace_back([&] {
        while (!stop.load()) EXPECT_TRUE(executor.run(work));
      });
    }
    load.emplace_back([&] {
      while (!stop.load()) {
        std::array<Future<void>, 8> futures;
        for (auto& future : futures) future = executor.submit(work);
        for (auto& future : futures) EXPECT_TRUE(future.get());
      }
    });
    for (int i = 0; i < 50; ++i) {
      auto submitted =
          executor.submit({.op_class = OpClass::kExclusive}, [&] { EXPECT_EQ(raw.inside(), 0U); });
      ASSERT_TRUE(submitted.wait_for(kGuard)) << "starved, with " << workers << " workers";
      const auto deadline = Clock::now() + kGuard;
      const auto ran = executor.run({.op_class = OpClass::kExclusive, .deadline = deadline},
                                    [&] { EXPECT_EQ(raw.inside(), 0U); });
      ASSERT_EQ(ran.outcome(), Outcome::kOk) << "starved, with " << workers << " workers";
    }
    stop = true;
    load.clear();
    drain_all(executor);
  }
}

TEST(Run, TasksOfBothDoorsAreNotStarvedByTheOther) {
  Executor executor(narrow());
  std::atomic<bool> stop{false};
  std::vector<std::jthread> load;
  for (int t = 0; t < 3; ++t) {
    load.emplace_back([&] {
      while (!stop.load()) EXPECT_TRUE(executor.run([] {}));
    });
  }
  for (int i = 0; i < 500; ++i) {
    auto future = executor.submit([] {});
    ASSERT_TRUE(future.wait_for(kGuard)) << "a submitted task was starved by callers of run";
  }
  stop = true;
  load.clear();
  std::vector<Future<void>> futures;
  for (int i = 0; i < 20'000; ++i) futures.push_back(executor.submit([] {}));
  EXPECT_TRUE(executor.run({.deadline = Clock::now() + kGuard}, [] {}));
}

// ---- many threads ----

TEST(Run, ThousandsOfShortLivedThreadsMayRun) {
  Executor executor({.config = with_gate(inline_config(1), OpClass::kRaw, 2, 2)});
  std::atomic<int> ran{0};
  for (int round = 0; round < 250; ++round) {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] { EXPECT_TRUE(executor.run([&] { ran.fetch_add(1); })); });
    }
  }
  EXPECT_EQ(ran.load(), 2'000);
  testing::expect_at_rest(executor.snapshot());
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The memory budget, seen from outside: what tasks reserve together never exceeds it, a large task
// neither holds others up nor is held up for ever, and what a task needs is learned.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/executors.h"
#include "../support/test_device.h"

namespace streamgate::executor {
namespace {

using testing::Blocker;
using testing::drain_all;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;
using testing::TestBackend;
using testing::TestDevice;

/// So many bytes for tasks, whatever the device says.
Config with_budget(std::size_t bytes, std::size_t threads = 4) {
  Config config = inline_config(threads);
  config.memory.budget_bytes = bytes;
  config.memory.headroom_bytes = 0;
  return config;
}

std::unique_ptr<Executor> executor_on(std::shared_ptr<TestDevice> device, Config config) {
  config.executor.backend = "test";
  return std::make_unique<Executor>(ExecutorOptions{
      .config = config, .backend = std::make_unique<TestBackend>(std::move(device))});
}

TaskOptions needing(std::size_t bytes) { return {.memory_bytes = bytes}; }

TEST(MemoryBudget, TasksNeverReserveMoreThanTheBudgetTogether) {
  constexpr std::size_t kBudget = 100;
  Executor executor({.config = with_budget(kBudget)});
  std::atomic<std::size_t> held{0};
  std::atomic<std::size_t> most{0};
  const auto work = [&](std::size_t bytes) {
    const std::size_t now = held.fetch_add(bytes) + bytes;
    std::size_t before = most.load();
    while (now > before && !most.compare_exchange_weak(before, now)) {
    }
    std::this_thread::yield();
    held.fetch_sub(bytes);
  };
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<Future<void>> futures;
      for (std::size_t i = 0; i < 500; ++i) {
        const std::size_t bytes = 1 + (i * 7 + t * 31) % 60;
        if (i % 2 == 0) {
          futures.push_back(executor.submit(needing(bytes), [&, bytes] { work(bytes); }));
        } else {
          EXPECT_TRUE(executor.run(needing(bytes), [&, bytes] { work(bytes); }));
        }
      }
      for (auto& future : futures) EXPECT_TRUE(future.get());
    });
  }
  threads.clear();
  EXPECT_LE(most.load(), kBudget);
  EXPECT_GT(most.load(), 60U) << "nothing ever ran beside another";
  EXPECT_EQ(executor.snapshot().memory.reserved, 0U);
  drain_all(executor);
}

TEST(MemoryBudget, ATaskThatNeedsMoreThanTheWholeBudgetIsRefused) {
  Executor executor({.config = with_budget(100)});
  const auto result = executor.submit(needing(101), [] {}).get();
  EXPECT_EQ(result.outcome(), Outcome::kTooLarge);
  EXPECT_EQ(reason(result.outcome()), "too_large");
  try {
    result.value();
    FAIL() << "there is no value";
  } catch (const OutcomeError& error) {
    EXPECT_NE(std::string(error.what()).find("memory.budget_bytes"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(executor.run(needing(101), [] {}).outcome(), Outcome::kTooLarge);
  EXPECT_TRUE(executor.run(needing(100), [] {}));
}

TEST(MemoryBudget, WithoutABudgetTheDeviceAndItsHeadroomBound) {
  auto device = std::make_shared<TestDevice>();
  device->memory = [] { return DeviceMemory{.total = 1'000, .free = 600, .held = 50}; };
  Config config = with_budget(0);
  config.memory.headroom_bytes = 100;
  const auto executor = executor_on(device, config);
  const Snapshot::Memory memory = executor->snapshot().memory;
  EXPECT_TRUE(memory.known);
  EXPECT_EQ(memory.whole, 900U);
  EXPECT_EQ(memory.room, 500U);
  EXPECT_EQ(executor->run(needing(901), [] {}).outcome(), Outcome::kTooLarge);
  EXPECT_TRUE(executor->run(needing(500), [] {}));
  // There could be room for 501, and there is none now.
  EXPECT_EQ(
      executor
          ->run({.deadline = Clock::now() + std::chrono::milliseconds(50), .memory_bytes = 501},
                [] {})
          .outcome(),
      Outcome::kExpired);
}

TEST(MemoryBudget, WhatTasksHoldOfTheirReservationsIsNotCountedTwice) {
  auto device = std::make_shared<TestDevice>();
  std::atomic<std::size_t> held{0};
  device->memory = [&held] {
    return DeviceMemory{.total = 100, .free = 100 - held, .held = 10 + held};
  };
  const auto executor = executor_on(device, with_budget(0));
  Blocker first(*executor, needing(50));
  held = 50;
  // With the 50 that are free the second one has all that it needs.
  ASSERT_TRUE(eventually([&] {
    return executor
        ->run({.deadline = Clock::now() + std::chrono::milliseconds(50), .memory_bytes = 50}, [] {})
        .ok();
  }));
  first.end();
}

TEST(MemoryBudget, SmallTasksGoAheadOfALargeOneForWhichMemoryIsShort) {
  Executor executor({.config = with_budget(100)});
  Blocker holds(executor, needing(60));
  Event large_ran;
  auto large = executor.submit(needing(50), [&] { large_ran.set(); });
  EXPECT_TRUE(executor.submit(needing(40), [] {}).get());
  EXPECT_TRUE(executor.run(needing(40), [] {}));
  EXPECT_FALSE(large_ran.happened());
  ASSERT_TRUE(eventually([&] { return executor.snapshot().memory.waiting == 1; }));
  EXPECT_EQ(executor.snapshot().memory.overtakes, 2U);
  holds.end();
  EXPECT_TRUE(large.get());
}

TEST(MemoryBudget, TasksThatNeedNoMemoryAreNeverHeldUp) {
  Executor executor({.config = with_budget(100)});
  Blocker holds(executor, needing(100));
  auto large = executor.submit(needing(100), [] {});
  for (std::size_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(executor.submit([] {}).get());
    EXPECT_TRUE(executor.run([] {}));
  }
  EXPECT_FALSE(large.ready());
  EXPECT_EQ(executor.snapshot().memory.overtakes, 0U) << "they take nothing from it";
  holds.end();
  EXPECT_TRUE(large.get());
}

TEST(MemoryBudget, ALargeTaskIsOvertakenSoManyTimesAndThenItIsItsTurn) {
  constexpr std::size_t kOvertakes = 32;
  Executor executor({.config = with_budget(100)});
  Blocker holds(executor, needing(60));
  std::mutex mutex;
  std::vector<int> order;
  const auto note = [&](int who) {
    const std::lock_guard lock(mutex);
    order.push_back(who);
  };
  auto large = executor.submit(needing(50), [&] { note(-1); });
  for (std::size_t i = 0; i < kOvertakes; ++i) {
    EXPECT_TRUE(executor.submit(needing(10), [&] { note(0); }).get()) << i;
  }
  // From now on what is given back is kept for the large one.
  auto late = executor.submit(needing(10), [&] { note(1); });
  std::jthread caller([&] { EXPECT_TRUE(executor.run(needing(10), [&] { note(2); })); });
  ASSERT_TRUE(eventually([&] { return executor.snapshot().memory.waiting == 3; }));
  EXPECT_TRUE(executor.run([] {})) << "and one that needs none goes on";
  EXPECT_TRUE(executor.run({.priority = Priority::kHigh, .memory_bytes = 10}, [] {}))
      << "as does one that would go before it in any case";
  {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(order.size(), kOvertakes);
  }
  holds.end();
  EXPECT_TRUE(large.get());
  EXPECT_TRUE(late.get());
  caller.join();
  EXPECT_EQ(executor.snapshot().memory.overtakes, kOvertakes);
}

TEST(MemoryBudget, MemoryThatSomebodyElseGivesBackIsNoticed) {
  auto device = std::make_shared<TestDevice>();
  std::atomic<std::size_t> free{10};
  device->memory = [&free] { return DeviceMemory{.total = 1'000, .free = free}; };
  const auto executor = executor_on(device, with_budget(0));
  auto submitted = executor->submit(needing(50), [] {});
  ASSERT_TRUE(eventually([&] { return executor->snapshot().memory.waiting == 1; }));
  EXPECT_FALSE(submitted.ready());
  free = 100;
  // Nothing else happens in this executor.
  ASSERT_TRUE(eventually([&] { return submitted.ready(); }));
  EXPECT_TRUE(submitted.get());
}

TEST(MemoryBudget, ALoweredBudgetRefusesWhatNoLongerFitsAndARaisedOneStartsWhatWaits) {
  Executor executor({.config = with_budget(100)});
  Blocker holds(executor, needing(60));
  auto too_large = executor.submit(needing(90), [] {});
  auto waits = executor.submit(needing(70), [] {});
  ASSERT_TRUE(eventually([&] { return executor.snapshot().memory.waiting == 2; }));
  EXPECT_TRUE(executor.apply(with_budget(80)).empty());
  EXPECT_EQ(too_large.get().outcome(), Outcome::kTooLarge);
  EXPECT_FALSE(waits.ready());
  EXPECT_TRUE(executor.apply(with_budget(200)).empty());
  EXPECT_TRUE(waits.get());
  holds.end();
}

TEST(MemoryBudget, WhoWaitsForMemoryCanBeCancelledExpiredShedAndDrained) {
  Config config = with_budget(100);
  config.queue.max_tasks = 3;
  config.queue.when_full = policies::WhenFull::kShedLowest;
  Executor executor({.config = config});
  Blocker holds(executor, needing(100));
  auto cancelled = executor.submit(needing(10), [] {});
  ASSERT_TRUE(eventually([&] { return executor.snapshot().memory.waiting == 1; }));
  EXPECT_EQ(cancelled.cancel(), CancelResult::kCancelled);
  EXPECT_EQ(cancelled.get().outcome(), Outcome::kCancelled);

  auto expires = executor.submit(
      {.deadline = Clock::now() + std::chrono::milliseconds(20), .memory_bytes = 10}, [] {});
  EXPECT_EQ(expires.get().outcome(), Outcome::kExpired);

  auto shed = executor.submit({.priority = Priority::kLow, .memory_bytes = 10}, [] {});
  auto second = executor.submit(needing(10), [] {});
  auto third = executor.submit(needing(10), [] {});
  auto fourth = executor.submit(needing(10), [] {});
  EXPECT_EQ(shed.get().outcome(), Outcome::kShed);

  holds.let_end();
  const DrainReport report = executor.drain(Drain::kFinish, kGuard);
  EXPECT_TRUE(report.drained);
  for (auto* future : {&second, &third, &fourth}) EXPECT_TRUE(future->get());
  EXPECT_EQ(executor.snapshot().memory.reserved, 0U);
  holds.end();
}

TEST(MemoryBudget, ReservationsComeBackHoweverATaskEnds) {
  Executor executor({.config = with_budget(100)});
  auto failing = executor.submit(needing(80), [] { throw std::runtime_error("no"); });
  EXPECT_THROW(static_cast<void>(failing.get()), std::runtime_error);
  EXPECT_THROW(static_cast<void>(executor.run(needing(80), [] { throw std::runtime_error("no"); })),
               std::runtime_error);
  EXPECT_EQ(executor.submit(needing(80), [](TaskContext&) { throw Cancelled{}; }).get().outcome(),
            Outcome::kCancelled);
  EXPECT_EQ(executor.snapshot().memory.reserved, 0U);
  EXPECT_TRUE(executor.run(needing(100), [] {}));
}

TEST(MemoryBudget, AnAsynchronousDeviceGivesBackWhenItIsDone) {
  auto device = std::make_shared<TestDevice>();
  device->completion = TestDevice::Completion::kWhenTold;
  const auto executor = executor_on(device, with_budget(100));
  auto first = executor->submit(needing(80), [] {});
  auto second = executor->submit(needing(80), [] {});
  ASSERT_TRUE(eventually([&] { return device->pending() == 1; }));
  EXPECT_EQ(executor->snapshot().memory.reserved, 80U);
  ASSERT_TRUE(eventually([&] { return executor->snapshot().memory.waiting == 1; }));
  EXPECT_TRUE(device->complete_one());
  ASSERT_TRUE(eventually([&] { return device->pending() == 1; }));
  EXPECT_TRUE(device->complete_one());
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
  EXPECT_EQ(executor->snapshot().memory.reserved, 0U);
}

TEST(MemoryBudget, AnUnknownTaskHasAllOfItOnceAndThenWhatWasSeen) {
  auto device = std::make_shared<TestDevice>();
  device->can_meter = true;
  device->metered = 30;
  const auto executor = executor_on(device, with_budget(100));
  LearnedMemory learned;
  const TaskOptions learns{.learn_memory = &learned};
  {
    Blocker first(*executor, learns);
    EXPECT_EQ(executor->snapshot().memory.reserved, 100U);
    first.end();
  }
  EXPECT_EQ(learned.estimate(0), 30U);
  {
    Blocker a(*executor, learns);
    Blocker b(*executor, learns);
    Blocker c(*executor, learns);
    EXPECT_EQ(executor->snapshot().memory.reserved, 90U);
    auto fourth = executor->submit(learns, [] {});
    ASSERT_TRUE(eventually([&] { return executor->snapshot().memory.waiting == 1; }));
    a.end();
    EXPECT_TRUE(fourth.get());
    b.end();
    c.end();
  }
  EXPECT_GE(executor->snapshot().memory.measured, 3U);
}

TEST(MemoryBudget, WhatATaskSaysIsTheFirstGuessAndIsCorrected) {
  auto device = std::make_shared<TestDevice>();
  device->can_meter = true;
  device->metered = 70;
  const auto executor = executor_on(device, with_budget(100));
  LearnedMemory learned;
  const TaskOptions learns{.memory_bytes = 20, .learn_memory = &learned};
  {
    Blocker first(*executor, learns);
    EXPECT_EQ(executor->snapshot().memory.reserved, 20U);
    first.end();
  }
  EXPECT_EQ(executor->snapshot().memory.exceeded, 1U);
  Blocker second(*executor, learns);
  EXPECT_EQ(executor->snapshot().memory.reserved, 70U);
  second.end();
}

TEST(MemoryBudget, AGuessThatDoesNotFitRunsAloneAndNotNever) {
  auto device = std::make_shared<TestDevice>();
  device->can_meter = true;
  device->metered = 90;
  std::atomic<std::size_t> free{100};
  device->memory = [&free] { return DeviceMemory{.total = 100, .free = free}; };
  const auto executor = executor_on(device, with_budget(0));
  LearnedMemory learned;
  EXPECT_TRUE(executor->run({.learn_memory = &learned}, [] {}));
  free = 10;
  ASSERT_TRUE(eventually([&] {
    EXPECT_TRUE(executor->run(needing(1), [] {}));
    return executor->snapshot().memory.room == 10;
  }));
  Blocker other(*executor, needing(5));
  auto guessed = executor->submit({.learn_memory = &learned}, [] {});
  ASSERT_TRUE(eventually([&] { return executor->snapshot().memory.waiting == 1; }));
  EXPECT_FALSE(guessed.ready());
  other.end();
  EXPECT_TRUE(guessed.get());
}

TEST(MemoryBudget, ADeviceThatCannotMeasureGoesByWhatIsSaid) {
  const auto executor = executor_on(std::make_shared<TestDevice>(), with_budget(100));
  LearnedMemory learned;
  Blocker a(*executor, {.memory_bytes = 50, .learn_memory = &learned});
  Blocker b(*executor, {.memory_bytes = 50, .learn_memory = &learned});
  EXPECT_EQ(executor->snapshot().memory.reserved, 100U);
  EXPECT_TRUE(executor->run({.learn_memory = &learned}, [] {})) << "nothing said, nothing known";
  a.end();
  b.end();
  EXPECT_EQ(learned.estimate(0), std::nullopt);
}

TEST(MemoryBudget, ATaskInATaskRunsOnTheOuterOnesReservation) {
  Executor executor({.config = with_budget(100)});
  EXPECT_TRUE(executor.run(needing(80), [&] {
    EXPECT_TRUE(executor.run(needing(80), [] {}));
    auto queued = executor.submit(needing(90), [] {});
    EXPECT_TRUE(queued.get());
  }));
  EXPECT_EQ(executor.snapshot().memory.reserved, 0U);
}

TEST(LearnedMemory, GoesUpAtOnceAndDownSlowlyBySizeOfTheArguments) {
  LearnedMemory learned;
  EXPECT_EQ(learned.estimate(1'000), std::nullopt);
  learned.learn(1'000, 500);
  EXPECT_EQ(learned.estimate(1'000), 500U);
  EXPECT_EQ(learned.estimate(900), 500U) << "of about the same size";
  EXPECT_EQ(learned.estimate(5'000), std::nullopt) << "of another size";
  learned.learn(1'000, 800);
  EXPECT_EQ(learned.estimate(1'000), 800U);
  learned.learn(1'000, 0);
  EXPECT_EQ(learned.estimate(1'000), 700U);
  for (int i = 0; i < 100; ++i) learned.learn(1'000, 10);
  EXPECT_EQ(learned.estimate(1'000), 10U);
}

TEST(LearnedMemory, MeasuresTheFirstRunsOfASizeAndThenFew) {
  LearnedMemory learned;
  std::size_t measured = 0;
  for (int i = 0; i < 320; ++i) measured += learned.wants_run(64) ? 1 : 0;
  EXPECT_EQ(measured, 3 + 9U);
  EXPECT_TRUE(learned.wants_run(1 << 20)) << "another size begins anew";
}

}  // namespace
}  // namespace streamgate::executor

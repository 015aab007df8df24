// SPDX-License-Identifier: Apache-2.0
//
// Coming to rest and ending: by drain in each of its modes, and by the destructor at any time.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
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

using testing::Blocker;
using testing::count_of;
using testing::count_of_ended;
using testing::Countdown;
using testing::drain_all;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;
using testing::narrow;
using testing::wait_until_closed;

TEST(Drain, OfAnIdleExecutorIsDone) {
  Executor executor(narrow());
  const DrainReport report = executor.drain(Drain::kFinish, Clock::now());
  EXPECT_TRUE(report.drained) << "even with no time at all";
  EXPECT_EQ(report.queued, 0U);
  EXPECT_EQ(report.running, 0U);
}

TEST(Drain, FinishRunsWhatIsThereAndRejectsWhatIsNew) {
  Executor executor(narrow());
  std::atomic<int> ran{0};
  std::vector<Future<void>> futures;
  Event end;
  futures.push_back(executor.submit([&] {
    EXPECT_TRUE(end.wait());
    ++ran;
  }));
  for (int i = 0; i < 100; ++i) futures.push_back(executor.submit([&] { ++ran; }));
  std::jthread drainer([&] { drain_all(executor); });
  ASSERT_TRUE(wait_until_closed(executor));
  const std::uint64_t rejected = count_of(executor.snapshot(), Outcome::kShutdown);
  EXPECT_EQ(executor.run([&] { ++ran; }).outcome(), Outcome::kShutdown);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kShutdown), rejected + 1);
  end.set();
  drainer.join();
  EXPECT_GE(ran.load(), 101);
  for (auto& future : futures) {
    ASSERT_TRUE(future.ready()) << "a drain that is done leaves no future open";
    const Outcome outcome = future.get().outcome();
    ASSERT_TRUE(outcome == Outcome::kOk || outcome == Outcome::kShutdown);
  }
}

TEST(Drain, FinishLetsParkedCallersHaveTheirTurn) {
  Executor executor(narrow());
  std::optional<Blocker> blocker(executor);
  std::atomic<int> ran{0};
  std::vector<std::jthread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] { EXPECT_TRUE(executor.run([&] { ++ran; })); });
  }
  ASSERT_TRUE(eventually([&] { return executor.snapshot().queue.tasks == 4; }));
  std::jthread drainer([&] { drain_all(executor); });
  blocker.reset();
  drainer.join();
  EXPECT_EQ(ran.load(), 4);
}

TEST(Drain, CancelQueuedCancelsWhatWaitsAndFinishesWhatRuns) {
  Executor executor(narrow());
  Event end;
  Event started;
  auto running = executor.submit([&](TaskContext& context) {
    started.set();
    EXPECT_TRUE(end.wait());
    EXPECT_FALSE(context.cancel_requested());
    return 1;
  });
  ASSERT_TRUE(started.wait());
  std::vector<Future<void>> waiting;
  for (int i = 0; i < 50; ++i) {
    waiting.push_back(executor.submit([] { ADD_FAILURE() << "a cancelled task ran"; }));
    if (i == 25) executor.set_limit(OpClass::kRaw, 1);  // Half of them have their places.
  }
  std::jthread caller([&] { EXPECT_EQ(executor.run([] {}).outcome(), Outcome::kCancelled); });
  ASSERT_TRUE(eventually([&] { return executor.snapshot().queue.tasks == 51; }));
  std::jthread drainer([&] { EXPECT_TRUE(executor.drain(Drain::kCancelQueued, kGuard).drained); });
  for (auto& future : waiting) EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
  caller.join();
  EXPECT_FALSE(running.ready());
  end.set();
  drainer.join();
  EXPECT_EQ(running.get().value(), 1);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kCancelled), 51U);
}

TEST(Drain, CancelAllAsksWhatRunsToLeave) {
  Executor executor({.config = inline_config(2)});
  Countdown started(3);
  const auto until_asked = [&](TaskContext& context) {
    started.arrive();
    EXPECT_TRUE(eventually([&] { return context.cancel_requested(); }));
    context.throw_if_cancelled();
  };
  auto running = executor.submit(until_asked);
  std::jthread caller([&] {
    EXPECT_EQ(executor.run({.op_class = OpClass::kGraph}, until_asked).outcome(),
              Outcome::kCancelled);
  });
  EXPECT_TRUE(started.arrive_and_wait());
  const DrainReport report = executor.drain(Drain::kCancelAll, kGuard);
  EXPECT_TRUE(report.drained);
  EXPECT_EQ(running.get().outcome(), Outcome::kCancelled);
  caller.join();
}

TEST(Drain, ReturnsAtItsDeadlineAndSaysWhatIsLeft) {
  Executor executor(narrow());
  Blocker blocker(executor);
  auto waiting = executor.submit([] { return 1; });
  auto waiting_too = executor.submit([] { return 1; });
  const auto deadline = Clock::now() + std::chrono::milliseconds(20);
  const DrainReport report = executor.drain(Drain::kFinish, deadline);
  EXPECT_FALSE(report.drained);
  EXPECT_EQ(report.queued, 2U);
  EXPECT_EQ(report.running, 1U);
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_FALSE(executor.drain(Drain::kFinish, Clock::now() - std::chrono::hours(1)).drained);
  EXPECT_FALSE(executor.drain(Drain::kFinish, Clock::time_point::min()).drained);
  blocker.end();
  drain_all(executor);
  EXPECT_EQ(waiting.get().value(), 1) << "the first drain did not cancel it";
  EXPECT_EQ(waiting_too.get().value(), 1);
}

TEST(Drain, ASecondDrainMayBeStricter) {
  Executor executor(narrow());
  Event started;
  auto running = executor.submit([&](TaskContext& context) {
    started.set();
    EXPECT_TRUE(eventually([&] { return context.cancel_requested(); }));
  });
  ASSERT_TRUE(started.wait());
  auto waiting = executor.submit([] {});
  EXPECT_FALSE(executor.drain(Drain::kFinish, std::chrono::milliseconds(1)).drained);
  EXPECT_FALSE(waiting.ready());
  EXPECT_FALSE(executor.drain(Drain::kCancelQueued, std::chrono::milliseconds(1)).drained);
  EXPECT_EQ(waiting.get().outcome(), Outcome::kCancelled);
  EXPECT_TRUE(executor.drain(Drain::kCancelAll, kGuard).drained);
  EXPECT_TRUE(running.get());
}

TEST(Drain, TwiceAndAtOnceFromManyThreads) {
  for (int round = 0; round < 50; ++round) {
    Executor executor({.config = inline_config(2)});
    std::atomic<int> ran{0};
    for (int i = 0; i < 50; ++i) (void)executor.submit([&] { ++ran; });
    {
      std::vector<std::jthread> drainers;
      for (int t = 0; t < 4; ++t) {
        drainers.emplace_back([&] { EXPECT_TRUE(executor.drain(Drain::kFinish, kGuard).drained); });
      }
    }
    ASSERT_EQ(ran.load(), 50);
    drain_all(executor);
  }
}

TEST(Drain, IsDoneUnderALoadOfRejectedWork) {
  Executor executor(narrow());
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> rejected{0};
  std::vector<std::jthread> load;
  for (int t = 0; t < 32; ++t) {
    load.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        if (executor.submit([] {}).get().outcome() == Outcome::kShutdown) ++rejected;
        if (executor.run([] {}).outcome() == Outcome::kShutdown) ++rejected;
      }
    });
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(executor.drain(Drain::kFinish, std::chrono::seconds(10)).drained)
        << "tasks have ended, and those that are turned away are no reason to wait";
  }
  EXPECT_TRUE(eventually([&] { return rejected.load() > 0; }));
  stop = true;
}

TEST(Drain, TasksThatSubmitMoreEndTooAndTheNewOnesAreRejected) {
  Executor executor(narrow());
  std::atomic<int> ran{0};
  std::atomic<int> rejected{0};
  const auto again = [&](const auto& self) -> void {
    ++ran;
    if (executor.submit([&self] { self(self); }).ready()) ++rejected;
  };
  (void)executor.submit([&] { again(again); });
  ASSERT_TRUE(eventually([&] { return ran.load() > 100; }));
  drain_all(executor);
  EXPECT_LE(rejected.load(), 2);
}

TEST(Drain, ContinuationsHaveRunWhenItIsDone) {
  Executor executor({.config = inline_config(2)});
  std::atomic<int> continued{0};
  for (int i = 0; i < 200; ++i) {
    (void)executor.submit([] {}).then([&](Result<void>) { ++continued; });
  }
  drain_all(executor);
  EXPECT_EQ(continued.load(), 200);
}

// ---- the destructor ----

TEST(Destructor, OfAnExecutorThatNeverWorked) {
  for (int i = 0; i < 20; ++i) Executor executor(narrow());
}

TEST(Destructor, CancelsWhatWaitsAndWaitsForWhatRuns) {
  std::atomic<bool> ended{false};
  std::atomic<int> ran{0};
  Future<int> running;
  std::vector<Future<void>> waiting;
  {
    Executor executor(narrow());
    Event started;
    running = executor.submit([&] {
      started.set();
      EXPECT_TRUE(wait_until_closed(executor));
      // What this task lets go before it has been cancelled would run, as if it had come first.
      EXPECT_TRUE(eventually([&] { return executor.snapshot().queue.tasks == 0; }));
      ended = true;
      return 1;
    });
    ASSERT_TRUE(started.wait());
    for (int i = 0; i < 1'000; ++i) {
      waiting.push_back(executor.submit([&] { ++ran; }));
      if (i == 500) executor.set_limit(OpClass::kRaw, 1);  // Half of them have their places.
    }
  }
  EXPECT_TRUE(ended.load());
  EXPECT_EQ(running.get().value(), 1);
  for (auto& future : waiting) {
    ASSERT_TRUE(future.ready());
    ASSERT_EQ(future.get().outcome(), Outcome::kCancelled);
  }
  EXPECT_EQ(ran.load(), 0);
}

TEST(Destructor, SendsParkedCallersHome) {
  std::vector<std::jthread> callers;
  std::atomic<int> cancelled{0};
  {
    auto executor = std::make_unique<Executor>(narrow());
    Event started;
    auto running = executor->submit([&] {
      started.set();
      EXPECT_TRUE(eventually([&] { return cancelled.load() == 8; }));
    });
    ASSERT_TRUE(started.wait());
    for (int t = 0; t < 8; ++t) {
      callers.emplace_back([&, raw = executor.get()] {
        EXPECT_EQ(raw->run([] {}).outcome(), Outcome::kCancelled);
        ++cancelled;
      });
    }
    ASSERT_TRUE(eventually([&] { return executor->snapshot().queue.tasks == 8; }));
    executor.reset();
  }
  EXPECT_EQ(cancelled.load(), 8);
}

TEST(Destructor, UnderLoadFromManyThreads) {
  constexpr std::size_t kThreads = 8;
  for (int round = 0; round < 20; ++round) {
    auto executor = std::make_unique<Executor>(ExecutorOptions{.config = inline_config(2)});
    // Keeps the executor until every thread has been turned away, as threads that stop at
    // kShutdown need: whoever calls must have been told before the executor is gone.
    Countdown turned_away(kThreads);
    Event keeper_runs;
    auto keeper = executor->submit({.op_class = OpClass::kGraph}, [&] {
      keeper_runs.set();
      EXPECT_TRUE(turned_away.wait());
    });
    ASSERT_TRUE(keeper_runs.wait());
    std::atomic<std::uint64_t> ran{0};
    std::atomic<std::uint64_t> ok{0};
    std::vector<std::jthread> load;
    for (std::size_t t = 0; t < kThreads; ++t) {
      load.emplace_back([&, t, raw = executor.get()] {
        for (bool open = true; open;) {
          std::array<Outcome, 16> outcomes{};
          if (t % 2 == 0) {
            std::array<Future<void>, 16> futures;
            for (auto& future : futures) future = raw->submit([&] { ++ran; });
            for (std::size_t i = 0; i < 16; ++i) outcomes[i] = futures[i].get().outcome();
          } else {
            for (Outcome& outcome : outcomes) outcome = raw->run([&] { ++ran; }).outcome();
          }
          for (const Outcome outcome : outcomes) {
            if (outcome == Outcome::kOk) ++ok;
            if (outcome == Outcome::kShutdown) open = false;
          }
        }
        turned_away.arrive();
      });
    }
    ASSERT_TRUE(eventually([&] { return ran.load() > 50; }));
    executor.reset();
    load.clear();
    EXPECT_EQ(ok.load(), ran.load());
    EXPECT_TRUE(keeper.get());
  }
}

// The task runs, and the executor ends, while submit is still on its way back to its caller: a
// worker is there when the task comes, and the deadline makes submit's way a little longer.
TEST(Destructor, WaitsForASubmitThatIsStillReturning) {
  for (int round = 0; round < 2'000; ++round) {
    auto executor = std::make_unique<Executor>(narrow());
    Event worker_is_there;
    std::atomic<bool> ran{false};
    (void)executor->submit([&, raw = executor.get()] {
      worker_is_there.set();
      EXPECT_TRUE(eventually([&] { return raw->snapshot().queue.tasks != 0; }));
    });
    std::jthread submitter([&, raw = executor.get()] {
      EXPECT_TRUE(worker_is_there.wait());
      (void)raw->submit({.deadline = Clock::now() + kGuard}, [&] { ran = true; });
    });
    ASSERT_TRUE(eventually([&] { return ran.load(); }));
    executor.reset();
  }
}

TEST(Destructor, WaitsForARunThatIsStillReturning) {
  for (int round = 0; round < 500; ++round) {
    auto executor = std::make_unique<Executor>(narrow());
    Event ran;
    std::jthread caller([&, raw = executor.get()] { (void)raw->run([&] { ran.set(); }); });
    ASSERT_TRUE(ran.wait());
    executor.reset();
  }
}

TEST(Destructor, WaitsForACancelThatIsStillReturning) {
  for (int round = 0; round < 500; ++round) {
    auto executor = std::make_unique<Executor>(narrow());
    std::optional<Blocker> blocker(*executor);
    std::stop_source stop;
    auto future = executor->submit({.stop = stop.get_token()}, [] {});
    executor->set_limit(OpClass::kRaw, 1);
    std::jthread stopper([&] { stop.request_stop(); });
    EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
    blocker.reset();
    executor.reset();
  }
}

TEST(Destructor, LeavesNoThreadBehind) {
  {
    Executor executor({.config = inline_config(3)});
    Countdown together(3);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 3; ++i) {
      futures.push_back(executor.submit([&] {
        EXPECT_TRUE(together.arrive_and_wait());
        EXPECT_GE(testing::threads_named("sg-worker-"), testing::thread_count() ? 1U : 0U);
      }));
    }
    for (auto& future : futures) EXPECT_TRUE(future.get());
  }
  // TBB keeps its workers; they have their own names again. A thread that was joined is listed for a
  // moment longer.
  EXPECT_TRUE(eventually([] { return testing::threads_named("sg-") == 0; }));
}

TEST(Destructor, StopTokenMayOutliveTheExecutor) {
  std::stop_source stop;
  {
    Executor executor(narrow());
    EXPECT_TRUE(executor.submit({.stop = stop.get_token()}, [] {}).get());
    EXPECT_TRUE(executor.run({.stop = stop.get_token()}, [] {}));
  }
  stop.request_stop();
}

TEST(Destructor, PatienceThatRunsOutIsNotTheEnd) {
  auto options = narrow();
  options.config.executor.drain_timeout = std::chrono::milliseconds(1);
  std::atomic<bool> asked{false};
  ::testing::internal::CaptureStderr();
  {
    Executor executor(std::move(options));
    Event started;
    (void)executor.submit([&](TaskContext& context) {
      started.set();
      EXPECT_TRUE(eventually([&] { return context.cancel_requested(); }));
      asked = true;
    });
    ASSERT_TRUE(started.wait());
  }
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(asked.load()) << "it takes the ground from under nobody";
  EXPECT_NE(said.find("1 of its tasks"), std::string::npos) << said;
}

}  // namespace
}  // namespace streamgate::executor

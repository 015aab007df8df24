// SPDX-License-Identifier: Apache-2.0
//
// Waiting inside a task: the inner work runs inline, or the wait is safe, or there is a named
// error; never a silent deadlock.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/coroutine.h"
#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
using testing::Blocker;
using testing::count_of;
using testing::Countdown;
using testing::drain_all;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;
using testing::with_gate;

class NestedTest : public ::testing::Test {
 protected:
  /// One worker, one permit of each class.
  Executor executor{ExecutorOptions{.config = inline_config(1)}};

  std::size_t in_use(OpClass op_class) {
    return executor.snapshot().gates[index_of(op_class)].in_use;
  }
};

// ---- submit in a task ----

TEST_F(NestedTest, SubmitInsideATaskIsAsAnywhere) {
  Event ran;
  auto outer = executor.submit([&] { return executor.submit([&] { ran.set(); }); });
  Future<void> inner = std::move(outer.get()).value();
  EXPECT_TRUE(ran.wait());
  EXPECT_TRUE(inner.get());
}

TEST_F(NestedTest, TasksMaySubmitATreeOfTasks) {
  std::atomic<int> ran{0};
  Countdown all(1 + 3 + 9 + 27 + 81);
  const auto grow = [&](const auto& self, int depth) -> void {
    ran.fetch_add(1);
    for (int i = 0; depth < 4 && i < 3; ++i) {
      (void)executor.submit([&self, depth] { self(self, depth + 1); });
    }
    all.arrive();
  };
  (void)executor.submit([&] { grow(grow, 0); });
  EXPECT_TRUE(all.wait());
  EXPECT_EQ(ran.load(), 121);
}

// ---- run in a task ----

TEST_F(NestedTest, RunInsideATaskOfTheSameClassRunsInlineUnderItsPermitAndStream) {
  auto outer = executor.submit([&](TaskContext& outer_context) {
    const auto thread = std::this_thread::get_id();
    return executor
        .run([&](TaskContext& context) {
          EXPECT_EQ(std::this_thread::get_id(), thread);
          EXPECT_EQ(context.stream(), outer_context.stream());
          EXPECT_EQ(in_use(OpClass::kRaw), 1U);
          EXPECT_EQ(executor.snapshot().streams.leased, 1U);
          return 7;
        })
        .value();
  });
  EXPECT_EQ(outer.get().value(), 7);
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kOk), 2U) << "both are counted";
}

TEST_F(NestedTest, EveryClassCoversRawAndExclusiveCoversAll) {
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    const auto classes = policies::OpClassSet::from_lane(lane);
    EXPECT_EQ(
        executor.run({.op_class = classes}, [&] { return executor.run([] { return 1; }).value(); })
            .value(),
        1);
    EXPECT_EQ(
        executor
            .run({.op_class = OpClass::kExclusive},
                 [&] { return executor.run({.op_class = classes}, [] { return 2; }).value(); })
            .value(),
        2);
  }
}

TEST_F(NestedTest, RunThatNeedsAnotherPermitTakesItWhenItIsFree) {
  auto outer = executor.submit([&] {
    EXPECT_EQ(in_use(OpClass::kGraph), 0U);
    const auto inner = executor.run({.op_class = OpClass::kGraph}, [&] {
      EXPECT_EQ(in_use(OpClass::kGraph), 1U);
      EXPECT_EQ(in_use(OpClass::kRaw), 1U);
      return 3;
    });
    EXPECT_EQ(in_use(OpClass::kGraph), 0U) << "only for as long as it needed it";
    return inner.value();
  });
  EXPECT_EQ(outer.get().value(), 3);
}

TEST_F(NestedTest, CompositeNeedsOnlyThePermitThatIsMissing) {
  const auto result = executor.run({.op_class = OpClass::kKernel}, [&] {
    return executor
        .run({.op_class = OpClass::kKernel | OpClass::kGraph},
             [&] { return std::pair(in_use(OpClass::kKernel), in_use(OpClass::kGraph)); })
        .value();
  });
  EXPECT_EQ(result.value(), std::pair(std::size_t{1}, std::size_t{1}))
      << "the kernel permit of the outer one is the inner one's, too";
}

TEST_F(NestedTest, RunThatNeedsAPermitThatIsNotFreeIsANamedError) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  Blocker blocker(wide, {.op_class = OpClass::kGraph});
  auto outer = wide.submit([&] {
    try {
      (void)wide.run({.op_class = OpClass::kGraph}, [] {});
    } catch (const NestedWaitError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("raw"), std::string::npos) << text;
      EXPECT_NE(text.find("graph"), std::string::npos) << text;
      return 1;
    }
    return 0;
  });
  EXPECT_EQ(outer.get().value(), 1);
  auto careless = wide.submit([&] { (void)wide.run({.op_class = OpClass::kGraph}, [] {}); });
  EXPECT_THROW((void)careless.get(), NestedWaitError) << "uncaught, it is the task's failure";
}

TEST_F(NestedTest, ExclusiveInsideAnythingElseIsANamedError) {
  auto outer =
      executor.submit([&] { (void)executor.run({.op_class = OpClass::kExclusive}, [] {}); });
  EXPECT_THROW((void)outer.get(), NestedWaitError);
  drain_all(executor);
}

TEST_F(NestedTest, PermitTakenForAnInnerTaskWakesThoseWhoWaitWhenItIsGivenBack) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  Event inner_runs;
  Event end;
  auto outer = wide.submit([&] {
    (void)wide.run({.op_class = OpClass::kGraph}, [&] {
      inner_runs.set();
      EXPECT_TRUE(end.wait());
    });
  });
  ASSERT_TRUE(inner_runs.wait());
  auto waiting = wide.submit({.op_class = OpClass::kGraph}, [] {});
  EXPECT_FALSE(waiting.ready());
  end.set();
  EXPECT_TRUE(waiting.wait_for(kGuard));
  EXPECT_TRUE(outer.get());
}

TEST_F(NestedTest, InnerOutcomesAreValuesAndItsExceptionIsRethrown) {
  auto outer = executor.submit([&] {
    EXPECT_EQ(executor.run({.deadline = Clock::time_point::min()}, [] {}).outcome(),
              Outcome::kExpired);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(executor.run({.stop = stop.get_token()}, [] {}).outcome(), Outcome::kCancelled);
    EXPECT_THROW((void)executor.run([] { throw 42; }), int);
    return 5;
  });
  EXPECT_EQ(outer.get().value(), 5);
}

TEST_F(NestedTest, InnerTaskHearsItsStopToken) {
  auto outer = executor.submit([&] {
    std::stop_source stop;
    return executor
        .run({.stop = stop.get_token()},
             [&](TaskContext& context) {
               stop.request_stop();
               context.throw_if_cancelled();
             })
        .outcome();
  });
  EXPECT_EQ(outer.get().value(), Outcome::kCancelled);
}

TEST_F(NestedTest, RunsMayBeNestedDeeplyThroughBothDoors) {
  const auto dive = [&](const auto& self, int depth) -> int {
    if (depth == 200) return 0;
    return 1 + executor.run([&] { return self(self, depth + 1); }).value();
  };
  EXPECT_EQ(executor.submit([&] { return dive(dive, 0); }).get().value(), 200);
  EXPECT_EQ(executor.run([&] { return dive(dive, 0); }).value(), 200);
  drain_all(executor);
}

// ---- get in a task ----

TEST_F(NestedTest, GetOnAQueuedTaskRunsItInline) {
  auto outer = executor.submit([&](TaskContext& outer_context) {
    const auto thread = std::this_thread::get_id();
    auto inner = executor.submit([&, thread](TaskContext& context) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      EXPECT_EQ(context.stream(), outer_context.stream());
      return 9;
    });
    return inner.get().value();
  });
  ASSERT_TRUE(outer.wait_for(kGuard)) << "the only worker waits for itself";
  EXPECT_EQ(outer.get().value(), 9);
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kOk), 2U);
}

TEST_F(NestedTest, GetInsideACallersTaskRunsTheQueuedOneInline) {
  Blocker blocker(executor, {.op_class = OpClass::kGraph});  // The worker is busy with that.
  auto queued = executor.submit([] { return std::this_thread::get_id(); });
  const auto result =
      executor.run({.op_class = OpClass::kKernel}, [&] { return queued.get().value(); });
  EXPECT_EQ(result.value(), std::this_thread::get_id());
}

TEST_F(NestedTest, TimedWaitsOnAQueuedTaskRunItInlineToo) {
  auto outer = executor.submit([&] {
    auto inner = executor.submit([] { return 1; });
    EXPECT_TRUE(inner.wait_for(std::chrono::nanoseconds(1)));
    return inner.get().value();
  });
  EXPECT_EQ(outer.get().value(), 1);
}

TEST_F(NestedTest, GetOnTheLastOfManyQueuedTasksRunsThatOne) {
  auto outer = executor.submit([&] {
    std::vector<int> order;
    std::vector<Future<void>> inner;
    for (int i = 0; i < 10; ++i) {
      inner.push_back(executor.submit([&order, i] { order.push_back(i); }));
    }
    for (std::size_t i = inner.size(); i-- > 0;) EXPECT_TRUE(inner[i].get());
    return order;
  });
  EXPECT_EQ(outer.get().value(), (std::vector<int>{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}));
}

TEST_F(NestedTest, GetInlineRethrowsAndEndedOutcomesAreValues) {
  auto outer = executor.submit([&] {
    auto failing = executor.submit([]() -> int { throw 42; });
    EXPECT_THROW((void)failing.get(), int);
    auto cancelled = executor.submit([] {});
    EXPECT_EQ(cancelled.cancel(), CancelResult::kCancelled);
    return cancelled.get().outcome();
  });
  EXPECT_EQ(outer.get().value(), Outcome::kCancelled);
}

TEST_F(NestedTest, GetOnAQueuedTaskOfAFreeClassTakesThatPermit) {
  auto outer = executor.submit([&] {
    auto inner =
        executor.submit({.op_class = OpClass::kGraph}, [&] { return in_use(OpClass::kGraph); });
    const std::size_t inside = inner.get().value();
    EXPECT_EQ(in_use(OpClass::kGraph), 0U);
    return inside;
  });
  EXPECT_EQ(outer.get().value(), 1U);
}

TEST_F(NestedTest, GetOnAQueuedTaskWhoseClassIsNotFreeIsANamedErrorAndTheTaskStays) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  std::optional<Blocker> blocker(std::in_place, wide, TaskOptions{.op_class = OpClass::kGraph});
  auto outer = wide.submit([&] {
    auto inner = wide.submit({.op_class = OpClass::kGraph}, [] { return 4; });
    EXPECT_THROW((void)inner.get(), NestedWaitError);
    EXPECT_THROW((void)inner.wait_for(std::chrono::seconds(1)), NestedWaitError);
    EXPECT_TRUE(inner.valid());
    return inner;
  });
  Future<int> inner = std::move(outer.get()).value();
  EXPECT_FALSE(inner.ready());
  blocker.reset();
  EXPECT_EQ(inner.get().value(), 4);
}

TEST_F(NestedTest, GetOnATaskThatRunsElsewhereWaits) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  Event started;
  Event end;
  auto other = wide.submit([&] {
    started.set();
    EXPECT_TRUE(end.wait());
    return 6;
  });
  ASSERT_TRUE(started.wait());
  auto outer = wide.submit([&] {
    EXPECT_FALSE(other.wait_for(std::chrono::milliseconds(2)));
    end.set();
    return other.get().value();
  });
  EXPECT_EQ(outer.get().value(), 6);
}

TEST_F(NestedTest, GetOnAReadyFutureIsNoWait) {
  auto ready = executor.submit([] { return 1; });
  auto then = executor.submit([] {}).then([](Result<void>) { return 2; });
  ASSERT_TRUE(ready.wait_for(kGuard));
  ASSERT_TRUE(then.wait_for(kGuard));
  EXPECT_EQ(executor.submit([&] { return ready.get().value() + then.get().value(); }).get().value(),
            3);
}

TEST_F(NestedTest, GetOnAFutureOfThenIsANamedError) {
  auto outer = executor.submit([&] {
    auto next = executor.submit([] {}).then([](Result<void>) { return 1; });
    EXPECT_THROW((void)next.get(), NestedWaitError);
    EXPECT_THROW((void)next.wait_for(std::chrono::seconds(1)), NestedWaitError);
    EXPECT_TRUE(next.valid());
    return next;
  });
  EXPECT_EQ(std::move(outer.get()).value().get().value(), 1);
}

TEST_F(NestedTest, GetOnAFutureOfAnotherExecutorWaits) {
  Executor other(ExecutorOptions{.config = inline_config(1)});
  auto outer = executor.submit([&] {
    auto inner = other.submit([] { return std::this_thread::get_id(); });
    return std::pair(inner.get().value(), std::this_thread::get_id());
  });
  const auto [inner, here] = outer.get().value();
  EXPECT_NE(inner, here);
  EXPECT_EQ(executor.run([&] { return other.run([] { return 8; }).value(); }).value(), 8);
}

// ---- waiting in a circle ----

TEST_F(NestedTest, TaskThatWaitsForItselfIsANamedError) {
  Future<void> self;
  Event assigned;
  self = executor.submit([&] {
    EXPECT_TRUE(assigned.wait());
    EXPECT_THROW((void)self.wait_for(kGuard), NestedWaitError);
  });
  assigned.set();
  EXPECT_TRUE(eventually([&] { return executor.snapshot().gates[0].in_use == 0; }));
  EXPECT_TRUE(self.get());
}

TEST_F(NestedTest, TasksThatWaitForEachOtherAreANamedErrorInOneOfThem) {
  for (const std::size_t members : {2U, 3U, 5U}) {
    Executor wide(ExecutorOptions{.config = inline_config(members)});
    std::vector<Future<void>> futures(members);
    Countdown running(members + 1);
    std::atomic<int> refused{0};
    for (std::size_t i = 0; i < members; ++i) {
      futures[i] = wide.submit([&, i] {
        EXPECT_TRUE(running.arrive_and_wait());
        try {
          // Not get: the future is looked at by the test afterwards.
          EXPECT_TRUE(futures[(i + 1) % members].wait_for(kGuard)) << "a deadlock";
        } catch (const NestedWaitError&) {
          ++refused;
        }
      });
    }
    EXPECT_TRUE(running.arrive_and_wait());
    drain_all(wide);
    EXPECT_EQ(refused.load(), 1);
  }
}

TEST_F(NestedTest, CircleThroughAnInnerTaskIsFoundToo) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  Future<void> first;
  Future<void> second;
  Countdown running(3);
  Countdown ended(2);
  std::atomic<int> refused{0};
  const auto wait_for = [&](Future<void>& future) {
    try {
      EXPECT_TRUE(future.wait_for(kGuard)) << "a deadlock";
    } catch (const NestedWaitError&) {
      ++refused;
    }
  };
  first = wide.submit([&] {
    EXPECT_TRUE(running.arrive_and_wait());
    (void)wide.run([&] { wait_for(second); });
    ended.arrive();
  });
  second = wide.submit([&] {
    EXPECT_TRUE(running.arrive_and_wait());
    (void)wide.run([&] { wait_for(first); });
    ended.arrive();
  });
  EXPECT_TRUE(running.arrive_and_wait());
  EXPECT_TRUE(ended.wait());  // A drain would turn their inner tasks away.
  drain_all(wide);
  EXPECT_EQ(refused.load(), 1);
}

TEST_F(NestedTest, WaitsThatAreOverLeaveNoTrace) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  // A waits for B and is done with that; then B may wait for A.
  Event b_may_end;
  Event a_has_b;
  Event end_a;
  Future<void> a;
  auto b = wide.submit([&] { EXPECT_TRUE(b_may_end.wait()); });
  a = wide.submit([&] {
    EXPECT_FALSE(b.wait_for(std::chrono::milliseconds(1)));
    a_has_b.set();
    EXPECT_TRUE(end_a.wait());
  });
  ASSERT_TRUE(a_has_b.wait());
  b_may_end.set();
  EXPECT_TRUE(b.get());
  auto c = wide.submit([&] {
    end_a.set();
    EXPECT_TRUE(a.wait_for(kGuard));
  });
  EXPECT_TRUE(c.get());
}

// ---- the good ways ----

TEST_F(NestedTest, ContinuationOfAnInnerTaskNeedsNoWait) {
  Event done;
  auto outer = executor.submit([&] {
    (void)executor.submit([] { return 1; }).then([&](Result<int> result) {
      EXPECT_EQ(*result, 1);
      done.set();
    });
  });
  EXPECT_TRUE(outer.get());
  EXPECT_TRUE(done.wait());
}

TEST_F(NestedTest, ContinuationMaySubmitAndRun) {
  auto next = executor.submit([] { return 1; }).then([&](Result<int> result) {
    auto more = executor.submit([] { return 10; });
    return *result + executor.run({.op_class = OpClass::kGraph}, [] { return 100; }).value();
  });
  EXPECT_EQ(next.get().value(), 101);
  drain_all(executor);
}

// A continuation runs after its task's permit and stream have been given back. So while it takes
// its time, others use them.
TEST_F(NestedTest, SlowContinuationHoldsUpNobodyElse) {
  Executor wide(ExecutorOptions{.config = with_gate(inline_config(2), OpClass::kRaw, 1, 1)});
  std::optional<Blocker> blocker(wide);
  Event in_continuation;
  Event end;
  auto slow = wide.submit([] {}).then([&](Result<void>) {
    in_continuation.set();
    EXPECT_TRUE(end.wait());
  });
  auto behind = wide.submit([] {});
  blocker.reset();
  ASSERT_TRUE(in_continuation.wait());
  EXPECT_TRUE(behind.wait_for(std::chrono::seconds(10))) << "it waits for the continuation";
  end.set();
  EXPECT_TRUE(slow.get());
}

testing::Detached await_two(Executor& executor, int& sum, Event& done) {
  sum = *co_await executor.submit([] { return 1; });
  sum += *co_await executor.submit([] { return 2; });
  done.set();
}

TEST_F(NestedTest, CoroutineStartedInATaskAwaitsOthers) {
  int sum = 0;
  Event done;
  EXPECT_TRUE(executor.submit([&] { await_two(executor, sum, done); }).get());
  EXPECT_TRUE(done.wait());
  EXPECT_EQ(sum, 3);
}

TEST_F(NestedTest, DrainInsideATaskIsANamedError) {
  auto outer = executor.submit([&] { (void)executor.drain(Drain::kFinish, kGuard); });
  EXPECT_THROW((void)outer.get(), NestedWaitError);
  EXPECT_THROW((void)executor.run([&] { (void)executor.drain(Drain::kCancelAll, kGuard); }),
               NestedWaitError);
  EXPECT_TRUE(executor.run([] {})) << "nothing was closed";
}

TEST_F(NestedTest, ManyTasksThatWaitForTheirOwnAllEnd) {
  Executor wide(ExecutorOptions{.config = inline_config(2)});
  std::vector<Future<int>> outer;
  for (int i = 0; i < 1'000; ++i) {
    outer.push_back(wide.submit([&, i] {
      auto inner = wide.submit([i] { return i; });
      auto inner_too = wide.submit([i] { return i; });
      return inner_too.get().value() + inner.get().value();
    }));
  }
  for (int i = 0; i < 1'000; ++i) {
    auto& future = outer[static_cast<std::size_t>(i)];
    ASSERT_TRUE(future.wait_for(kGuard)) << "a deadlock";
    ASSERT_EQ(future.get().value(), 2 * i);
  }
}

}  // namespace
}  // namespace streamgate::executor

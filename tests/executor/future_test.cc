// SPDX-License-Identifier: Apache-2.0
//
// The caller's end of a task: waiting, chaining, awaiting, cancelling, and who owns what.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/coroutine.h"
#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using testing::Blocker;
using testing::Detached;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;

class FutureTest : public ::testing::Test {
 protected:
  Executor executor{ExecutorOptions{.config = inline_config(2)}};
};

/// One worker, so that what is submitted behind a Blocker waits.
class QueuedFutureTest : public ::testing::Test {
 protected:
  Executor executor{ExecutorOptions{.config = inline_config(1)}};
};

/// Counts its living copies.
class Counted {
 public:
  explicit Counted(std::atomic<int>& living) : living_(&living) { ++*living_; }
  Counted(const Counted& other) : living_(other.living_) { ++*living_; }
  Counted(Counted&& other) noexcept : living_(other.living_) { ++*living_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*living_; }

 private:
  std::atomic<int>* living_;
};

// ---- get and wait ----

TEST_F(FutureTest, GetHandsOutTheValueAndLeavesTheFutureEmpty) {
  auto future = executor.submit([] { return 6 * 7; });
  EXPECT_TRUE(future.valid());
  EXPECT_EQ(future.get().value(), 42);
  EXPECT_FALSE(future.valid());
}

TEST_F(FutureTest, GetOfVoidIsAnOutcome) {
  bool ran = false;
  const Result<void> result = executor.submit([&] { ran = true; }).get();
  EXPECT_EQ(result.outcome(), Outcome::kOk);
  EXPECT_TRUE(ran);
}

TEST_F(FutureTest, ResultThatCanOnlyBeMovedComesThrough) {
  auto future = executor.submit([] { return std::make_unique<std::string>("x"); });
  const std::unique_ptr<std::string> text = std::move(future.get()).value();
  EXPECT_EQ(*text, "x");
}

TEST_F(FutureTest, CallableThatCanOnlyBeMovedRuns) {
  auto owned = std::make_unique<int>(5);
  EXPECT_EQ(executor.submit([owned = std::move(owned)] { return *owned; }).get().value(), 5);
}

TEST_F(FutureTest, ReferenceThatTheCallableReturnsIsCopied) {
  const std::string text = "kept";
  auto future = executor.submit([&]() -> const std::string& { return text; });
  static_assert(std::is_same_v<decltype(future), Future<std::string>>);
  EXPECT_EQ(future.get().value(), "kept");
}

TEST_F(FutureTest, GetRethrowsWhatTheTaskThrew) {
  auto future = executor.submit([]() -> int { throw std::out_of_range("mine"); });
  try {
    (void)future.get();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "mine");
  }
  EXPECT_FALSE(future.valid());
}

TEST_F(FutureTest, GetRethrowsWhatIsNotAnException) {
  auto number = executor.submit([] { throw 42; });
  try {
    (void)number.get();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const int thrown) {
    EXPECT_EQ(thrown, 42);
  }
  auto text = executor.submit([]() -> int { throw "text"; });
  EXPECT_THROW((void)text.get(), const char*);
  EXPECT_EQ(executor.submit([] { return 1; }).get().value(), 1) << "the worker survived it";
}

TEST_F(QueuedFutureTest, WaitTimesOutWhileTheTaskRunsAndSucceedsLater) {
  Blocker blocker(executor);
  auto future = executor.submit([] { return 1; });
  EXPECT_FALSE(future.ready());
  EXPECT_FALSE(future.wait_for(std::chrono::milliseconds(2)));
  EXPECT_FALSE(future.wait_until(Clock::now() - std::chrono::seconds(1)));
  EXPECT_FALSE(future.wait_until(Clock::time_point::min()));
  EXPECT_TRUE(future.valid());
  blocker.let_end();
  EXPECT_TRUE(future.wait_for(kGuard));
  EXPECT_TRUE(future.ready());
  EXPECT_TRUE(future.wait_until(Clock::time_point::min())) << "ready is ready, however late";
  EXPECT_EQ(future.get().value(), 1);
}

TEST_F(FutureTest, WaitsThatTimeOutRaceWithCompletion) {
  for (int i = 0; i < 5'000; ++i) {
    auto future = executor.submit([i] { return i; });
    while (!future.wait_for(std::chrono::nanoseconds(i % 700))) {
    }
    ASSERT_EQ(future.get().value(), i);
  }
}

TEST_F(FutureTest, FuturesMayBeWaitedForOnOtherThreads) {
  auto future = executor.submit([] { return 3; });
  int seen = 0;
  std::jthread([&, future = std::move(future)]() mutable { seen = future.get().value(); }).join();
  EXPECT_EQ(seen, 3);
}

// ---- ownership ----

TEST_F(FutureTest, DroppedFutureLetsItsTaskRun) {
  Event ran;
  {
    auto dropped = executor.submit([&] { ran.set(); });
  }
  EXPECT_TRUE(ran.wait());
}

TEST_F(FutureTest, OverwrittenFutureLetsItsTaskRun) {
  Event ran;
  auto future = executor.submit([&] { ran.set(); });
  future = executor.submit([] {});
  EXPECT_TRUE(ran.wait());
  EXPECT_TRUE(future.get());
}

TEST_F(FutureTest, WhatTheCallableOwnsEndsWithTheTask) {
  std::atomic<int> living{0};
  auto future = executor.submit([held = Counted(living)] { return 1; });
  ASSERT_TRUE(future.wait_for(kGuard));
  EXPECT_EQ(living.load(), 0) << "it waited for the future's end";
  EXPECT_EQ(future.get().value(), 1);
}

TEST_F(QueuedFutureTest, WhatTheCallableOwnsEndsWithATaskThatNeverRuns) {
  std::atomic<int> living{0};
  Blocker blocker(executor);
  auto future = executor.submit([held = Counted(living)] {});
  auto dropped = std::make_optional(executor.submit([held = Counted(living)] {}));
  EXPECT_EQ(living.load(), 2);
  EXPECT_EQ(future.cancel(), CancelResult::kCancelled);
  EXPECT_EQ(living.load(), 1);
  EXPECT_EQ(dropped->cancel(), CancelResult::kCancelled);
  dropped.reset();
  EXPECT_EQ(living.load(), 0);
  EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
}

TEST_F(FutureTest, ValueThatNobodyTakesIsDestroyed) {
  std::atomic<int> living{0};
  {
    auto future = executor.submit([&] { return Counted(living); });
    ASSERT_TRUE(future.wait_for(kGuard));
    EXPECT_EQ(living.load(), 1);
  }
  EXPECT_EQ(living.load(), 0);
}

TEST(Future, OutlivesItsExecutor) {
  Future<int> ended;
  Future<int> cancelled;
  Future<int> then;
  {
    Executor executor(ExecutorOptions{.config = inline_config(1)});
    ended = executor.submit([] { return 1; });
    ASSERT_TRUE(ended.wait_for(kGuard));
    Event end;
    auto running = executor.submit([&] { EXPECT_TRUE(end.wait()); });
    cancelled = executor.submit([] { return 2; });
    then = executor.submit([] { return 3; }).then([](Result<int> r) { return r ? 1 : 0; });
    // The destructor cancels what waits, and waits for what runs.
    std::jthread later([&] {
      EXPECT_TRUE(eventually([&] { return cancelled.ready(); }));
      end.set();
    });
    (void)executor.drain(Drain::kCancelQueued, kGuard);
  }
  EXPECT_EQ(ended.get().value(), 1);
  EXPECT_EQ(cancelled.cancel(), CancelResult::kTooLate);
  EXPECT_EQ(cancelled.get().outcome(), Outcome::kCancelled);
  EXPECT_EQ(then.get().value(), 0);
}

TEST(Future, DefaultMadeIsEmptyAndMayBeMoved) {
  Future<int> future;
  EXPECT_FALSE(future.valid());
  Future<int> other = std::move(future);
  EXPECT_FALSE(other.valid());
}

// ---- then ----

TEST_F(QueuedFutureTest, ThenBeforeCompletionRunsWhereTheTaskEnded) {
  Blocker blocker(executor);
  std::thread::id worker;
  auto future = executor.submit([&] {
    worker = std::this_thread::get_id();
    return 20;
  });
  auto next = std::move(future).then(
      [&](Result<int> result) { return std::pair(*result + 1, std::this_thread::get_id()); });
  EXPECT_FALSE(future.valid());
  blocker.end();
  const auto [value, continued_on] = next.get().value();
  EXPECT_EQ(value, 21);
  EXPECT_EQ(continued_on, worker);
}

TEST_F(FutureTest, ThenAfterCompletionRunsHereAndAtOnce) {
  auto future = executor.submit([] { return 20; });
  ASSERT_TRUE(future.wait_for(kGuard));
  std::thread::id continued_on;
  auto next = future.then([&](Result<int> result) {
    continued_on = std::this_thread::get_id();
    return *result + 1;
  });
  EXPECT_EQ(continued_on, std::this_thread::get_id());
  EXPECT_TRUE(next.ready());
  EXPECT_EQ(next.get().value(), 21);
}

TEST_F(FutureTest, ThenSeesPermitAndStreamGivenBack) {
  auto in_use = executor.submit([] {}).then([this](Result<void>) {
    const Snapshot snapshot = executor.snapshot();
    return snapshot.gates[0].in_use + snapshot.streams.leased;
  });
  EXPECT_EQ(in_use.get().value(), 0U);
}

TEST_F(FutureTest, ThenOfVoidAndToVoid) {
  int seen = 0;
  auto next = executor.submit([] {})
                  .then([&](Result<void> result) { seen = result ? 1 : 2; })
                  .then([&](Result<void> result) { seen += result ? 10 : 20; });
  EXPECT_TRUE(next.get());
  EXPECT_EQ(seen, 11);
}

TEST_F(FutureTest, ThenSeesTheExceptionAsAResult) {
  auto next = executor.submit([]() -> int { throw 42; }).then([](Result<int> result) {
    try {
      (void)result.value();
    } catch (const int thrown) {
      return thrown;
    }
    return 0;
  });
  EXPECT_EQ(next.get().value(), 42);
}

TEST_F(FutureTest, ThenThatThrowsFails) {
  auto next = executor.submit([] { return 1; })
                  .then([](Result<int>) -> int { throw std::logic_error("then"); })
                  .then([](Result<int> result) -> int { return std::move(result).value(); });
  EXPECT_THROW((void)next.get(), std::logic_error) << "through the link that did not throw itself";
  auto odd = executor.submit([] {}).then([](Result<void>) { throw 7; });
  EXPECT_THROW((void)odd.get(), int);
}

TEST_F(FutureTest, ThenSeesEveryOtherOutcomeAsAValue) {
  auto next = executor.submit({.deadline = Clock::now() - std::chrono::seconds(1)}, [] {})
                  .then([](Result<void> result) { return result.outcome(); });
  EXPECT_EQ(next.get().value(), Outcome::kExpired);
}

TEST_F(FutureTest, ThenMovesAResultThatCanOnlyBeMoved) {
  auto next = executor.submit([] { return std::make_unique<int>(4); })
                  .then([extra = std::make_unique<int>(5)](Result<std::unique_ptr<int>> result) {
                    return std::make_unique<int>(**result + *extra);
                  });
  EXPECT_EQ(**next.get(), 9);
}

TEST_F(FutureTest, ThenDropsWhatItOwnsAndItsUpstreamWhenItHasRun) {
  std::atomic<int> living{0};
  auto next = executor.submit([&] { return Counted(living); })
                  .then([held = Counted(living)](Result<Counted>) { return 1; });
  ASSERT_TRUE(next.wait_for(kGuard));
  EXPECT_EQ(living.load(), 0);
  EXPECT_EQ(next.get().value(), 1);
}

TEST_F(FutureTest, ThenCannotBeCancelled) {
  Event go;
  auto next = executor.submit([&] { EXPECT_TRUE(go.wait()); }).then([](Result<void>) {});
  EXPECT_EQ(next.cancel(), CancelResult::kTooLate);
  go.set();
  EXPECT_TRUE(next.get());
}

TEST_F(QueuedFutureTest, LongChainOfThenDoesNotRecurseItselfToDeath) {
  constexpr int kLinks = 100'000;
  std::atomic<int> living{0};
  Blocker blocker(executor);
  auto future = executor.submit([] { return 0; });
  for (int i = 0; i < kLinks; ++i) {
    future = std::move(future).then(
        [held = Counted(living)](Result<int> result) { return *result + 1; });
  }
  EXPECT_EQ(living.load(), kLinks);
  blocker.end();
  EXPECT_EQ(future.get().value(), kLinks);
  EXPECT_EQ(living.load(), 0);
}

TEST_F(FutureTest, LongChainOfThenOnReadyFuturesIsALoop) {
  constexpr int kLinks = 100'000;
  auto future = executor.submit([] { return 0; });
  ASSERT_TRUE(future.wait_for(kGuard));
  for (int i = 0; i < kLinks; ++i) {
    future = std::move(future).then([](Result<int> result) { return *result + 1; });
  }
  EXPECT_EQ(future.get().value(), kLinks);
}

TEST_F(QueuedFutureTest, LongChainThatNobodyKeepsIsFreed) {
  std::atomic<int> living{0};
  {
    Blocker blocker(executor);
    auto future = executor.submit([] { return 0; });
    for (int i = 0; i < 100'000; ++i) {
      future = std::move(future).then(
          [held = Counted(living)](Result<int> result) { return *result + 1; });
    }
  }
  EXPECT_TRUE(eventually([&] { return living.load() == 0; }));
}

TEST_F(FutureTest, ThenRacesWithCompletion) {
  for (int i = 0; i < 5'000; ++i) {
    auto next = executor.submit([i] { return i; }).then([](Result<int> r) { return *r + 1; });
    ASSERT_EQ(next.get().value(), i + 1);
  }
}

// ---- co_await ----

Detached await_into(Future<int> future, std::optional<Result<int>>& into, Event& done) {
  try {
    into = co_await std::move(future);
  } catch (const std::logic_error&) {
    into = Result<int>(std::current_exception());
  }
  done.set();
}

TEST_F(QueuedFutureTest, AwaitResumesWhenTheTaskHasEnded) {
  std::optional<Result<int>> result;
  Event done;
  Blocker blocker(executor);
  await_into(executor.submit([] { return 7; }), result, done);
  EXPECT_FALSE(done.happened());
  blocker.end();
  ASSERT_TRUE(done.wait());
  EXPECT_EQ(result->value(), 7);
}

TEST_F(FutureTest, AwaitOfAReadyFutureDoesNotSuspend) {
  std::optional<Result<int>> result;
  Event done;
  auto future = executor.submit([] { return 7; });
  ASSERT_TRUE(future.wait_for(kGuard));
  await_into(std::move(future), result, done);
  ASSERT_TRUE(done.happened());
  EXPECT_EQ(result->value(), 7);
}

TEST_F(FutureTest, AwaitRethrowsAndHandsOutOutcomes) {
  std::optional<Result<int>> failed;
  std::optional<Result<int>> expired;
  Event done;
  Event done_too;
  await_into(executor.submit([]() -> int { throw std::logic_error("mine"); }), failed, done);
  await_into(executor.submit({.deadline = Clock::time_point::min()}, [] { return 1; }), expired,
             done_too);
  ASSERT_TRUE(done.wait());
  ASSERT_TRUE(done_too.wait());
  EXPECT_EQ(failed->outcome(), Outcome::kFailed);
  EXPECT_THROW((void)failed->value(), std::logic_error);
  EXPECT_EQ(expired->outcome(), Outcome::kExpired);
}

Detached await_many(Executor& executor, int count, int& sum, Event& done) {
  for (int i = 0; i < count; ++i) sum += *co_await executor.submit([] { return 1; });
  done.set();
}

TEST_F(FutureTest, AwaitingManyInTurnDoesNotRecurseItselfToDeath) {
  constexpr int kMany = 20'000;
  int sum = 0;
  Event done;
  await_many(executor, kMany, sum, done);
  ASSERT_TRUE(done.wait());
  EXPECT_EQ(sum, kMany);
}

// ---- cancel ----

TEST_F(QueuedFutureTest, CancelOfAQueuedTaskEndsItAtOnce) {
  bool ran = false;
  Blocker blocker(executor);
  auto future = executor.submit([&] { ran = true; });
  EXPECT_EQ(future.cancel(), CancelResult::kCancelled);
  EXPECT_TRUE(future.ready()) << "no worker is needed for that";
  EXPECT_EQ(future.cancel(), CancelResult::kTooLate);
  EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
  blocker.end();
  testing::drain_all(executor);
  EXPECT_FALSE(ran);
  EXPECT_EQ(testing::count_of(executor.snapshot(), Outcome::kCancelled), 1U);
}

TEST_F(QueuedFutureTest, CancelOfATaskThatHasItsPlaceInTheQueueFreesItsRoom) {
  Blocker blocker(executor);
  auto future = executor.submit({.cost_bytes = 10}, [] {});
  auto behind = executor.submit([] { return 1; });
  executor.set_limit(OpClass::kRaw, 1);  // Whoever dispatches sorts the inbox.
  EXPECT_EQ(executor.snapshot().lanes[0].queued, 2U);
  EXPECT_EQ(future.cancel(), CancelResult::kCancelled);
  EXPECT_EQ(executor.snapshot().queue.tasks, 1U);
  EXPECT_EQ(executor.snapshot().queue.bytes, 0U);
  blocker.end();
  EXPECT_EQ(behind.get().value(), 1);
}

TEST_F(FutureTest, CancelOfARunningTaskAsksItToLeave) {
  Event started;
  Event asked;
  auto future = executor.submit([&](TaskContext& context) {
    EXPECT_FALSE(context.cancel_requested());
    started.set();
    EXPECT_TRUE(asked.wait());
    context.throw_if_cancelled();
    return 1;
  });
  ASSERT_TRUE(started.wait());
  EXPECT_EQ(future.cancel(), CancelResult::kRequested);
  asked.set();
  EXPECT_EQ(future.get().outcome(), Outcome::kCancelled);
}

TEST_F(FutureTest, CancelledTaskMayStillEndWell) {
  Event started;
  Event asked;
  auto future = executor.submit([&](TaskContext& context) {
    started.set();
    EXPECT_TRUE(asked.wait());
    EXPECT_TRUE(context.cancel_requested());
    return 5;
  });
  ASSERT_TRUE(started.wait());
  EXPECT_EQ(future.cancel(), CancelResult::kRequested);
  asked.set();
  EXPECT_EQ(future.get().value(), 5) << "a request is not an outcome";
}

TEST_F(FutureTest, CancelOfAnEndedTaskIsTooLate) {
  auto future = executor.submit([] { return 5; });
  ASSERT_TRUE(future.wait_for(kGuard));
  EXPECT_EQ(future.cancel(), CancelResult::kTooLate);
  EXPECT_EQ(future.get().value(), 5);
}

TEST_F(FutureTest, CancelRacesWithTheRunAndEndsInOneOutcome) {
  std::array<int, 3> results{};
  for (int i = 0; i < 5'000; ++i) {
    std::atomic<int> ran{0};
    auto future = executor.submit([&] { ran = 1; });
    const CancelResult cancelled = future.cancel();
    ++results[static_cast<std::size_t>(cancelled)];
    const Outcome outcome = future.get().outcome();
    if (cancelled == CancelResult::kCancelled) {
      ASSERT_EQ(outcome, Outcome::kCancelled);
      ASSERT_EQ(ran.load(), 0);
    } else {
      ASSERT_EQ(outcome, Outcome::kOk);
      ASSERT_EQ(ran.load(), 1);
    }
  }
  testing::drain_all(executor);
  const Snapshot snapshot = executor.snapshot();
  EXPECT_EQ(testing::count_of(snapshot, Outcome::kCancelled),
            static_cast<std::uint64_t>(results[0]));
  EXPECT_EQ(testing::count_of_ended(snapshot), 5'000U);
}

}  // namespace
}  // namespace streamgate::executor

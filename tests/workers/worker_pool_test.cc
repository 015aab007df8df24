// SPDX-License-Identifier: Apache-2.0
//
// Calls through a pool of real worker processes that behave: answers, order, limits, numbers.
#include <streamgate/executor/workers/worker_pool.h>

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "pool_support.h"

namespace streamgate::executor {
namespace {

using namespace std::chrono_literals;
using testing::call;
using testing::count;
using testing::Event;
using testing::eventually;
using testing::kGuard;
using testing::pool_options;
using testing::TestCall;
using testing::wait_for_ready;

using Calls = std::vector<std::unique_ptr<TestCall>>;

TEST(WorkerPool, AnswersComeBackToTheirCalls) {
  WorkerPool pool(pool_options(2));
  Calls calls;
  for (int i = 0; i < 500; ++i) {
    calls.push_back(std::make_unique<TestCall>("e" + std::to_string(i)));
    pool.submit(*calls.back(), {});
  }
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(calls[i]->wait(), CallResult::kDone);
    EXPECT_EQ(calls[i]->answer, std::to_string(i));
    EXPECT_EQ(calls[i]->ends, 1);
    EXPECT_EQ(calls[i]->encoded, 1);
  }
}

TEST(WorkerPool, ManyThreadsMaySubmitAtOnce) {
  WorkerPool pool(pool_options(2));
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 100; ++i) {
        const std::string text = std::to_string(thread) + ":" + std::to_string(i);
        const auto one = call(pool, "e" + text);
        if (one->how.result == CallResult::kDone && one->answer == text) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 800);
}

TEST(WorkerPool, WhatAnOperationThrowsFailsItsCallAndNotItsWorker) {
  WorkerPool pool(pool_options(1));
  const std::string before = call(pool, "i")->answer;
  const auto failed = call(pool, "tmat1 and mat2 do not fit");
  EXPECT_EQ(failed->how.result, CallResult::kFailed);
  EXPECT_EQ(failed->how.text, "mat1 and mat2 do not fit");
  EXPECT_EQ(call(pool, "i")->answer, before);
}

TEST(WorkerPool, ARequestThatCannotBeWrittenFailsItsCallAndNotItsWorker) {
  WorkerPool pool(pool_options(1));
  const std::string before = call(pool, "i")->answer;
  TestCall impossible("e");
  impossible.on_encode = [] { throw std::runtime_error("no such dtype"); };
  pool.submit(impossible, {});
  EXPECT_EQ(impossible.wait(), CallResult::kFailed);
  EXPECT_EQ(impossible.how.text, "no such dtype");
  EXPECT_FALSE(impossible.how.begun);
  EXPECT_EQ(call(pool, "i")->answer, before);
}

TEST(WorkerPool, TheWorkerThatWasBusyLastIsTakenFirst) {
  WorkerPool pool(pool_options(3));
  ASSERT_TRUE(wait_for_ready(pool, 3));
  std::set<std::string> processes;
  for (int i = 0; i < 50; ++i) {
    processes.insert(call(pool, "i")->answer);
    ASSERT_TRUE(eventually([&] { return pool.load().idle == 3; }));
  }
  EXPECT_EQ(processes.size(), 1U);
}

TEST(WorkerPool, APreferredWorkerIsTakenIfItIsIdle) {
  WorkerPool pool(pool_options(3));
  ASSERT_TRUE(wait_for_ready(pool, 3));
  std::set<std::string> processes;
  for (std::uint64_t worker = 1; worker <= 3; ++worker) {
    processes.insert(call(pool, "i", {.prefer_worker = worker})->answer);
  }
  EXPECT_EQ(processes.size(), 3U);
}

TEST(WorkerPool, SharedMemoryForInputsLiesInTheWorkerThatItNames) {
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  std::optional<WorkerPool::SharedBlock> shared = pool.allocate(1'000);
  ASSERT_TRUE(shared);
  struct Given final : WorkerCall {
    explicit Given(WorkerPool::SharedBlock& its_block) : block(its_block) {}
    BlockReference encode(Channel& to_worker) override {
      lent = to_worker.is_ours(block.block);
      return lent ? to_worker.lend(block.block).value() : BlockReference{};
    }
    void sent() noexcept override {}
    void not_sent(Channel&) noexcept override {}
    void complete(CallEnd end) noexcept override {
      bytes = end.response.bytes();
      end.response = {};
      ended.set();
    }
    WorkerPool::SharedBlock& block;
    bool lent = false;
    std::size_t bytes = 0;
    Event ended;
  } given(*shared);
  std::memset(shared->block.data(), 'e', 1'000);
  pool.submit(given, {.prefer_worker = shared->worker});
  ASSERT_TRUE(given.ended.wait());
  EXPECT_TRUE(given.lent) << "nothing was copied";
  EXPECT_EQ(given.bytes, 999U);
}

TEST(WorkerPool, MoreCallsThanMayWaitAreRefused) {
  WorkerPoolOptions options = pool_options(1);
  options.max_queued = 2;
  WorkerPool pool(options);
  ASSERT_TRUE(wait_for_ready(pool, 1));
  TestCall busy("c");
  const std::uint64_t number = pool.submit(busy, {});
  TestCall first("e1");
  TestCall second("e2");
  TestCall third("e3");
  pool.submit(first, {});
  pool.submit(second, {});
  pool.submit(third, {});
  EXPECT_EQ(third.wait(), CallResult::kRefused);
  EXPECT_FALSE(third.how.begun);
  EXPECT_TRUE(pool.cancel(number));
  EXPECT_EQ(first.wait(), CallResult::kDone);
  EXPECT_EQ(second.wait(), CallResult::kDone);
}

TEST(WorkerPool, ACallWhoseTimeToStartIsOverWhileItWaitsExpires) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  TestCall busy("c");
  const std::uint64_t number = pool.submit(busy, {});
  TestCall late("e");
  pool.submit(late, {.start_by = std::chrono::steady_clock::now() + 20ms});
  EXPECT_EQ(late.wait(), CallResult::kExpired) << "the worker was busy all the time";
  EXPECT_EQ(late.encoded, 0);
  EXPECT_FALSE(busy.has_ended());
  pool.cancel(number);
  EXPECT_EQ(busy.wait(), CallResult::kCancelled);
}

TEST(WorkerPool, AWaitingCallIsCancelledAtOnce) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  TestCall busy("c");
  const std::uint64_t number = pool.submit(busy, {});
  TestCall waiting("e");
  EXPECT_TRUE(pool.cancel(pool.submit(waiting, {})));
  EXPECT_EQ(waiting.how.result, CallResult::kCancelled);
  EXPECT_EQ(waiting.encoded, 0);
  pool.cancel(number);
  EXPECT_EQ(busy.wait(), CallResult::kCancelled);
}

TEST(WorkerPool, ACallThatIsCancelledWhileItsRequestIsWrittenIsNotSentAndLeavesNothing) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  TestCall cancelled("etext");
  cancelled.on_encode = [&] { EXPECT_TRUE(pool.cancel(1)); };
  EXPECT_EQ(pool.submit(cancelled, {}), 1U);
  EXPECT_EQ(cancelled.wait(), CallResult::kCancelled);
  EXPECT_EQ(pool.snapshot().calls_started, 0U);
  EXPECT_EQ(pool.snapshot().shared_used_bytes, 0U);
  EXPECT_EQ(call(pool, "eafter")->answer, "after");
}

TEST(WorkerPool, ARunningCallThatHeedsItIsCancelledAndItsWorkerStays) {
  WorkerPoolOptions options = pool_options(1);
  options.cancel_grace = std::chrono::duration_cast<std::chrono::milliseconds>(kGuard);
  WorkerPool pool(options);
  const std::string before = call(pool, "i")->answer;
  TestCall running("c");
  const std::uint64_t number = pool.submit(running, {});
  ASSERT_TRUE(pool.cancel(number));
  EXPECT_EQ(running.wait(), CallResult::kCancelled);
  EXPECT_EQ(call(pool, "i")->answer, before);
  EXPECT_FALSE(pool.cancel(number)) << "it has ended";
}

TEST(WorkerPool, WorkersBeyondTheMinimumComeWithTheBacklogAndGoWhenIdle) {
  WorkerPoolOptions options = pool_options(1);
  options.max_workers = 3;
  options.idle_after = 50ms;
  WorkerPool pool(options);
  ASSERT_TRUE(wait_for_ready(pool, 1));
  Calls calls;
  std::vector<std::uint64_t> numbers;
  for (int i = 0; i < 5; ++i) {
    calls.push_back(std::make_unique<TestCall>("c"));
    numbers.push_back(pool.submit(*calls.back(), {}));
  }
  EXPECT_TRUE(eventually([&] {
    return count(pool.snapshot(), WorkerState::kBusy) == 3 && pool.load().queued == 2;
  })) << "three and no more";
  for (const std::uint64_t number : numbers) EXPECT_TRUE(pool.cancel(number));
  EXPECT_TRUE(eventually([&] { return pool.load().ready == 1; }));
  EXPECT_TRUE(eventually([&] { return count(pool.snapshot(), WorkerExit::kIdle) == 2; }));
  EXPECT_EQ(pool.snapshot().starts, 3U);
}

TEST(WorkerPool, AWorkerIsRecycledAfterItsNumberOfCalls) {
  WorkerPoolOptions options = pool_options(1);
  options.recycle_calls = 10;
  WorkerPool pool(options);
  std::set<std::string> processes;
  for (int i = 0; i < 30; ++i) processes.insert(call(pool, "i")->answer);
  EXPECT_EQ(processes.size(), 3U);
  EXPECT_TRUE(eventually([&] { return count(pool.snapshot(), WorkerExit::kRecycled) == 3; }));
}

TEST(WorkerPool, AWorkerWhoseMemoryHasGrownIsRecycled) {
  WorkerPoolOptions options = pool_options(1);
  options.recycle_growth = 64 << 20;
  WorkerPool pool(options);
  const std::string before = call(pool, "i")->answer;
  ASSERT_TRUE(eventually([&] { return pool.snapshot().memory_bytes > 0; }));
  EXPECT_EQ(call(pool, "i")->answer, before);
  ASSERT_EQ(call(pool, "g100")->how.result, CallResult::kDone);
  ASSERT_TRUE(eventually([&] {
    const auto again = call(pool, "i");
    return again->how.result == CallResult::kDone && again->answer != before;
  }));
  EXPECT_TRUE(eventually([&] { return count(pool.snapshot(), WorkerExit::kRecycled) == 1; }));
}

TEST(WorkerPool, StoppingEndsEveryCallOnce) {
  Calls calls;
  {
    WorkerPool pool(pool_options(2));
    ASSERT_TRUE(wait_for_ready(pool, 2));
    for (const char* deed : {"h", "c", "e", "e", "e"}) {
      calls.push_back(std::make_unique<TestCall>(deed));
      pool.submit(*calls.back(), {});
    }
    pool.stop();
    TestCall after("e");
    pool.submit(after, {});
    EXPECT_EQ(after.how.result, CallResult::kRefused);
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(calls[i]->ends, 1) << i;
    EXPECT_EQ(calls[i]->how.result, i < 2 ? CallResult::kCancelled : CallResult::kRefused) << i;
  }
}

TEST(WorkerPool, TheSnapshotCountsCallsBytesAndMemory) {
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  const WorkersSnapshot before = pool.snapshot();
  EXPECT_EQ(before.starts, 2U);
  EXPECT_EQ(count(before, WorkerState::kIdle), 2U);
  EXPECT_EQ(before.start_time.sum.count() > 0, true);
  EXPECT_GE(before.shared_reserved_bytes, std::size_t{4} << 20);
  ASSERT_EQ(call(pool, "e" + std::string(9'999, 'x'))->how.result, CallResult::kDone);
  const WorkersSnapshot after = pool.snapshot();
  EXPECT_EQ(after.bytes_sent - before.bytes_sent, 10'000U);
  EXPECT_EQ(after.bytes_received - before.bytes_received, 9'999U);
  EXPECT_EQ(after.calls_started - before.calls_started, 1U);
  EXPECT_TRUE(eventually([&] { return pool.snapshot().shared_used_bytes == 0; }))
      << "everything was given back";
}

}  // namespace
}  // namespace streamgate::executor

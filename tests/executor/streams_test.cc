// SPDX-License-Identifier: Apache-2.0
//
// Streams and the device behind them: leases, lazy opening, and work that the device finishes
// later.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
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
#include "../support/test_device.h"

namespace streamgate::executor {
namespace {

using testing::Blocker;
using testing::Census;
using testing::count_of;
using testing::Countdown;
using testing::drain_all;
using testing::Driver;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;
using testing::TestBackend;
using testing::TestDevice;
using testing::with_gate;

class StreamsTest : public ::testing::Test {
 protected:
  ~StreamsTest() override {
    for (const std::string& violation : device->violations()) ADD_FAILURE() << violation;
    EXPECT_EQ(device->entered.load(), device->left.load());
  }

  ExecutorOptions options(std::size_t threads, std::size_t raw_limit, std::size_t streams = 32) {
    Config config = with_gate(inline_config(threads), OpClass::kRaw, raw_limit, raw_limit);
    config.executor.streams = streams;
    return {.config = config, .backend = std::make_unique<TestBackend>(device)};
  }
  void finish_later() { device->completion = TestDevice::Completion::kWhenTold; }
  bool pending(std::size_t streams) {
    return eventually([&] { return device->pending() == streams; });
  }

  std::shared_ptr<TestDevice> device = std::make_shared<TestDevice>();
};

// ---- leases and opening ----

TEST_F(StreamsTest, BackendIsInitialisedOnceAndEndsWithTheExecutor) {
  {
    auto with_share = options(3, 3);
    with_share.config.executor.intra_op_threads = 2;
    with_share.config.executor.allow_oversubscription = true;
    const auto constructor = std::this_thread::get_id();
    std::thread::id initialised_on;
    device->on_initialise = [&] { initialised_on = std::this_thread::get_id(); };
    const Executor executor(std::move(with_share));
    EXPECT_EQ(device->initialised.load(), 1U);
    EXPECT_EQ(device->intra_op_threads.load(), 2U);
    EXPECT_EQ(initialised_on, constructor);
    EXPECT_EQ(executor.provenance().backend, "test");
    EXPECT_EQ(executor.snapshot().backend, "test");
    EXPECT_EQ(device->opened.load(), 0U) << "streams are opened when they are needed";
  }
  EXPECT_EQ(device->destroyed.load(), 1U);
  EXPECT_EQ(device->bound.load(), device->unbound.load());
}

TEST_F(StreamsTest, BackendThatCannotBeInitialisedIsThrownAndLeavesNothing) {
  device->on_initialise = [] { throw std::runtime_error("no device; plug it in"); };
  EXPECT_THROW(Executor executor(options(1, 1)), std::runtime_error);
  EXPECT_EQ(device->destroyed.load(), 1U);
}

TEST_F(StreamsTest, BackendHasTheLastWordOnTheNumberOfStreamsAndTheDefaultClass) {
  device->max_streams = 3;
  device->default_class = policies::kUnknownOpClass;
  device->shares_cores = false;
  Config config = inline_config(1);
  const Executor executor({.config = config, .backend = std::make_unique<TestBackend>(device)});
  const Snapshot snapshot = executor.snapshot();
  EXPECT_EQ(snapshot.streams.slots, 3U);
  EXPECT_EQ(snapshot.gates[0].ceiling, 3U) << "raw is as wide as the streams";
  EXPECT_EQ(snapshot.gates[0].limit, 3U) << "and not as narrow as the cores of this machine";
  EXPECT_EQ(snapshot.gates[1].ceiling, 1U);
  EXPECT_EQ(snapshot.gates[2].ceiling, 1U);
}

TEST_F(StreamsTest, ClosureWithoutAClassHasTheBackendsDefault) {
  device->default_class = policies::kUnknownOpClass;
  Executor executor(options(1, 1));
  EXPECT_TRUE(executor.submit([] {}).get());
  EXPECT_EQ(executor.snapshot().lanes[3].outcomes[index_of(Outcome::kOk)], 1U);
}

TEST_F(StreamsTest, StreamIsOpenedOnceByWhoeverNeedsItFirst) {
  Executor executor(options(2, 4));
  EXPECT_TRUE(executor.run([](TaskContext& context) { EXPECT_EQ(context.stream(), 0U); }));
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(executor.submit([] {}).get());
  EXPECT_EQ(device->opened.load(), 2U) << "slot 0 and one for the workers";
  Countdown together(2);
  auto first = executor.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); });
  auto second = executor.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); });
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
  EXPECT_EQ(device->opened.load(), 3U);
  EXPECT_EQ(executor.snapshot().streams.opened, 3U);
}

TEST_F(StreamsTest, StreamThatCannotBeOpenedFailsItsTaskAndTheNextOneTriesAgain) {
  std::atomic<int> attempts{0};
  device->on_open = [&](StreamIndex) {
    if (++attempts <= 2) throw std::runtime_error("no stream");
  };
  Executor executor(options(1, 1));
  bool ran = false;
  auto first = executor.submit([&] { ran = true; });
  EXPECT_THROW((void)first.get(), std::runtime_error);
  EXPECT_FALSE(ran);
  auto second = executor.submit([&] { ran = true; });
  EXPECT_THROW((void)second.get(), std::runtime_error);
  EXPECT_EQ(executor.submit([] { return 3; }).get().value(), 3);
  EXPECT_EQ(attempts.load(), 3);
  drain_all(executor);
  EXPECT_EQ(count_of(executor.snapshot(), Outcome::kFailed), 2U);
}

TEST_F(StreamsTest, StreamThatCannotBeOpenedFailsACallerToo) {
  std::atomic<int> attempts{0};
  device->on_open = [&](StreamIndex) {
    if (++attempts == 1) throw std::runtime_error("no stream");
  };
  Executor executor(options(1, 1));
  EXPECT_THROW((void)executor.run([] {}), std::runtime_error);
  testing::expect_at_rest(executor.snapshot());
  EXPECT_TRUE(executor.run([] {}));
}

TEST_F(StreamsTest, ExhaustedStreamsLetTasksWaitInTheQueueAndAreCounted) {
  // Of two streams, slot 0 is the constructing thread's: so one task at a time, whatever the limit.
  Executor executor(options(3, 3, 2));
  std::optional<Blocker> blocker(executor);
  Census census;
  std::vector<Future<void>> futures;
  for (int i = 0; i < 50; ++i) {
    futures.push_back(executor.submit([&] {
      EXPECT_EQ(census.enter(), 1U);
      census.leave();
    }));
  }
  ASSERT_TRUE(eventually([&] { return executor.snapshot().streams.exhausted > 0; }));
  EXPECT_EQ(executor.snapshot().queue.tasks, 50U);
  blocker.reset();
  for (auto& future : futures) EXPECT_TRUE(future.get());
  drain_all(executor);
}

TEST_F(StreamsTest, ConstructingThreadGetsItsStreamPastTasksThatWaitForOne) {
  Executor executor(options(3, 3, 2));
  std::optional<Blocker> blocker(executor);
  auto waiting = executor.submit({.deadline = Clock::now() + kGuard},
                                 [](TaskContext& context) { return context.stream(); });
  for (int i = 0; i < 100; ++i) {
    // A later one than that of the other, so that it is not first in order.
    const auto stream = executor.run({.deadline = Clock::now() + kGuard},
                                     [](TaskContext& context) { return context.stream(); });
    ASSERT_TRUE(stream);
    EXPECT_EQ(stream.value(), 0U);
  }
  EXPECT_FALSE(waiting.ready());
  blocker.reset();
  EXPECT_EQ(waiting.get().value(), 1U);
  drain_all(executor);
}

TEST_F(StreamsTest, ConstructingThreadWaitsBehindATaskThatItsOwnWouldKeepOut) {
  Executor executor(options(3, 3, 2));
  std::optional<Blocker> blocker(executor);
  std::atomic<bool> was_alone{false};
  auto alone = executor.submit({.op_class = OpClass::kExclusive}, [&] { was_alone = true; });
  const std::jthread ends_it([&] {
    EXPECT_TRUE(eventually([&] { return executor.snapshot().queue.tasks == 2; }));
    blocker.reset();
  });
  EXPECT_TRUE(executor.run([&] { EXPECT_TRUE(was_alone.load()); }));
  EXPECT_TRUE(alone.get());
  drain_all(executor);
}

TEST_F(StreamsTest, SingleStreamServesBothDoors) {
  Executor executor(options(2, 2, 1));
  for (int i = 0; i < 100; ++i) {
    auto future = executor.submit([](TaskContext& context) { return context.stream(); });
    EXPECT_EQ(executor.run([](TaskContext& context) { return context.stream(); }).value(), 0U);
    EXPECT_EQ(future.get().value(), 0U);
  }
  drain_all(executor);
}

// A caller that finds a permit but no stream must not keep the permit from others for longer than
// it looks; and when it is then turned away, it must not leave them asleep.
TEST_F(StreamsTest, CallersWithoutAStreamLeaveNobodyAsleep) {
  auto tight = options(1, 4, 2);
  tight.config.queue.max_tasks = 1;
  Executor executor(std::move(tight));
  for (int round = 0; round < 1'000; ++round) {
    Countdown start(3);
    std::vector<std::jthread> callers;
    for (int t = 0; t < 2; ++t) {
      callers.emplace_back([&] {
        EXPECT_TRUE(start.arrive_and_wait());
        const Outcome outcome = executor.run([] {}).outcome();
        EXPECT_TRUE(outcome == Outcome::kOk || outcome == Outcome::kQueueFull);
      });
    }
    EXPECT_TRUE(start.arrive_and_wait());
    auto future = executor.submit([] {});
    ASSERT_TRUE(future.wait_for(kGuard)) << "asleep in round " << round;
    callers.clear();
  }
  drain_all(executor);
}

TEST_F(StreamsTest, WorkersAreBoundToTheBackendWhileTheyWork) {
  {
    Executor executor(options(3, 3));
    Countdown together(3);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 3; ++i) {
      futures.push_back(executor.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); }));
    }
    for (auto& future : futures) EXPECT_TRUE(future.get());
    EXPECT_GE(device->bound.load(), 3U);
  }
  EXPECT_EQ(device->bound.load(), device->unbound.load());
}

TEST_F(StreamsTest, NestedWorkSharesTheStreamAndWaitsForIt) {
  Executor executor(options(1, 1));
  EXPECT_TRUE(executor
                  .submit([&] {
                    EXPECT_TRUE(executor.run([] {}));
                    EXPECT_EQ(device->synchronized.load(), 1U)
                        << "the inner result is there when run returns";
                  })
                  .get());
  EXPECT_EQ(device->notified.load(), 1U) << "the outer one stands for the stream";
}

// ---- work that the device finishes later ----

TEST_F(StreamsTest, PermitLeaseAndFutureWaitForTheDevice) {
  finish_later();
  Executor executor(options(1, 1));
  std::atomic<bool> encoded{false};
  auto future = executor.submit([&] {
    encoded = true;
    return 5;
  });
  auto next = executor.submit([] { return 6; });
  ASSERT_TRUE(pending(1));
  EXPECT_TRUE(encoded.load());
  EXPECT_FALSE(future.ready()) << "encoded is not done";
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 1U);
  EXPECT_EQ(executor.snapshot().streams.leased, 1U);
  EXPECT_EQ(executor.snapshot().queue.tasks, 1U);
  EXPECT_TRUE(device->complete_one());
  EXPECT_EQ(future.get().value(), 5);
  ASSERT_TRUE(pending(1));
  EXPECT_TRUE(device->complete_one());
  EXPECT_EQ(next.get().value(), 6);
  drain_all(executor);
  EXPECT_EQ(device->completed.load(), 2U);
}

TEST_F(StreamsTest, WorkerGoesOnWhileTheDeviceWorks) {
  finish_later();
  Executor executor(options(1, 3));
  std::vector<Future<void>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(executor.submit([] {}));
  ASSERT_TRUE(pending(3)) << "one worker encodes for as many streams as there are permits";
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 3U);
  EXPECT_EQ(executor.snapshot().queue.tasks, 2U);
  EXPECT_TRUE(eventually([&] {
    (void)device->complete_one();
    return device->completed.load() == 5;
  }));
  for (auto& future : futures) EXPECT_TRUE(future.get());
}

TEST_F(StreamsTest, RunWaitsForTheDevice) {
  finish_later();
  Executor executor(options(1, 1));
  std::atomic<bool> returned{false};
  std::jthread caller([&] {
    EXPECT_EQ(executor.run([] { return 3; }).value(), 3);
    returned = true;
  });
  ASSERT_TRUE(pending(1));
  EXPECT_FALSE(returned.load());
  EXPECT_EQ(executor.snapshot().gates[0].in_use, 1U);
  EXPECT_TRUE(device->complete_one());
  caller.join();
  EXPECT_TRUE(returned.load());
  testing::expect_at_rest(executor.snapshot());
}

TEST_F(StreamsTest, CallerInItsTurnWaitsForTheDeviceToo) {
  finish_later();
  Executor executor(options(1, 1));
  auto first = executor.submit([] {});
  ASSERT_TRUE(pending(1));
  std::jthread caller([&] { EXPECT_EQ(executor.run([] { return 3; }).value(), 3); });
  ASSERT_TRUE(eventually([&] { return executor.snapshot().queue.tasks == 1; }));
  EXPECT_TRUE(device->complete_one());
  ASSERT_TRUE(pending(1));
  EXPECT_TRUE(device->complete_one());
  caller.join();
  EXPECT_TRUE(first.get());
}

TEST_F(StreamsTest, FailureWaitsForTheDeviceAsWell) {
  finish_later();
  Executor executor(options(1, 1));
  auto future = executor.submit([]() -> int { throw 42; });
  ASSERT_TRUE(pending(1));
  EXPECT_FALSE(future.ready()) << "what it had encoded may still run on the stream";
  EXPECT_EQ(executor.snapshot().streams.leased, 1U);
  EXPECT_TRUE(device->complete_one());
  EXPECT_THROW((void)future.get(), int);
}

TEST_F(StreamsTest, ContinuationRunsAfterTheDeviceOnItsThread) {
  finish_later();
  Executor executor(options(1, 1));
  std::optional<std::thread::id> continued_on;
  std::size_t in_use = 9;
  auto next = executor.submit([] {}).then([&](Result<void>) {
    continued_on = std::this_thread::get_id();
    in_use = executor.snapshot().gates[0].in_use + executor.snapshot().streams.leased;
  });
  ASSERT_TRUE(pending(1));
  EXPECT_FALSE(continued_on);
  EXPECT_TRUE(device->complete_one());
  EXPECT_EQ(continued_on, std::this_thread::get_id());
  EXPECT_EQ(in_use, 0U) << "permit and stream come first";
  EXPECT_TRUE(next.get());
}

TEST_F(StreamsTest, CancelWhileTheDeviceWorksIsARequest) {
  finish_later();
  Executor executor(options(1, 1));
  std::stop_source stop;
  auto future = executor.submit({.stop = stop.get_token()}, [] { return 1; });
  ASSERT_TRUE(pending(1));
  EXPECT_EQ(future.cancel(), CancelResult::kRequested);
  stop.request_stop();
  EXPECT_FALSE(future.ready()) << "what is on the device cannot be taken back";
  EXPECT_TRUE(device->complete_one());
  EXPECT_EQ(future.get().value(), 1);
}

TEST_F(StreamsTest, DrainWaitsForTheDevice) {
  finish_later();
  Executor executor(options(1, 2));
  auto future = executor.submit([] {});
  ASSERT_TRUE(pending(1));
  const DrainReport report = executor.drain(Drain::kFinish, std::chrono::milliseconds(5));
  EXPECT_FALSE(report.drained);
  EXPECT_EQ(report.running, 1U);
  EXPECT_TRUE(device->complete_one());
  drain_all(executor);
  EXPECT_TRUE(future.get());
}

TEST_F(StreamsTest, DestructorWaitsForTheDevice) {
  finish_later();
  Future<void> future;
  std::optional<Driver> driver;
  {
    Executor executor(options(1, 2));
    future = executor.submit([] {});
    ASSERT_TRUE(pending(1));
    driver.emplace(device);
  }
  EXPECT_TRUE(future.ready());
  EXPECT_TRUE(future.get());
  EXPECT_EQ(device->destroyed.load(), 1U);
}

TEST_F(StreamsTest, ADriversThreadCompletesManyTasksOfBothDoors) {
  finish_later();
  {
    Executor executor(options(2, 6, 8));
    const Driver driver(device);
    const Driver driver_too(device);
    Census on_device;
    std::atomic<int> done{0};
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
          for (int i = 0; i < 300; ++i) {
            if (t % 2 == 0) {
              EXPECT_TRUE(executor.run([] {}));
              ++done;
            } else {
              (void)executor.submit([] {}).then([&](Result<void> result) {
                if (result) ++done;
              });
            }
          }
        });
      }
    }
    drain_all(executor);
    EXPECT_EQ(done.load(), 1'200);
    EXPECT_EQ(device->completed.load(), 1'200U);
  }
}

testing::Detached await_device(Executor& executor, int rounds, Event& done) {
  for (int i = 0; i < rounds; ++i) EXPECT_TRUE(co_await executor.submit([] {}));
  done.set();
}

TEST_F(StreamsTest, CoroutineIsResumedByTheDevice) {
  finish_later();
  Executor executor(options(1, 1));
  const Driver driver(device);
  Event done;
  await_device(executor, 200, done);
  EXPECT_TRUE(done.wait());
  drain_all(executor);
}

// ---- two executors ----

TEST_F(StreamsTest, TwoExecutorsInOneProcessKeepTheirWorkersAndStreamsApart) {
  auto other_device = std::make_shared<TestDevice>();
  {
    Executor first(options(2, 2));
    Executor second(
        {.config = inline_config(2), .backend = std::make_unique<TestBackend>(other_device)});
    Countdown together(4);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 4; ++i) {
      futures.push_back((i % 2 == 0 ? first : second).submit([&] {
        EXPECT_TRUE(together.arrive_and_wait()) << "there are workers for both at once";
      }));
    }
    for (auto& future : futures) EXPECT_TRUE(future.get());
    for (int i = 0; i < 200; ++i) {
      auto a = first.submit([&] { return second.submit([] { return 1; }); });
      EXPECT_EQ(std::move(a.get()).value().get().value(), 1);
    }
    drain_all(first);
    EXPECT_TRUE(second.submit([] {}).get()) << "the one is drained, the other is not";
    EXPECT_EQ(first.submit([] {}).get().outcome(), Outcome::kShutdown);
  }
  for (const std::string& violation : other_device->violations()) ADD_FAILURE() << violation;
  EXPECT_EQ(other_device->bound.load(), other_device->unbound.load());
}

TEST_F(StreamsTest, ExecutorBuiltOnAThreadTakesThatForItsConstructor) {
  std::unique_ptr<Executor> executor;
  std::jthread([&] {
    executor = std::make_unique<Executor>(options(1, 2));
    EXPECT_EQ(executor->run([](TaskContext& context) { return context.stream(); }).value(), 0U);
  }).join();
  EXPECT_EQ(executor->run([](TaskContext& context) { return context.stream(); }).value(), 1U);
  EXPECT_TRUE(executor->submit([] {}).get());
}

TEST_F(StreamsTest, ManyExecutorsMayComeAndGoOnManyThreads) {
  std::vector<std::jthread> threads;
  std::atomic<int> sum{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        Executor executor({.config = inline_config(2)});
        std::vector<Future<void>> futures;
        for (int task = 0; task < 10; ++task) futures.push_back(executor.submit([&] { ++sum; }));
        if (i % 2 == 0) {
          for (auto& future : futures) EXPECT_TRUE(future.get());
        } else {
          EXPECT_TRUE(executor.drain(Drain::kFinish, kGuard).drained);
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(sum.load(), 800);
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// What design.md says the executor promises, as far as there are parts that could break it: 1 the
// ceiling, 2 one outcome each, 3 one owner for a stream, 5 no lock held while others' code runs,
// and 6 no fork. (4 is about workers in other processes; 6's second half has a program of its own;
// 7 is tested where files are read.)
#include <streamgate/executor.h>

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "../support/process.h"
#include "../support/test_device.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::kAllOpClasses;
using policies::kLanes;
using policies::kOpClasses;
using policies::LimitPolicy;
using policies::LimitPolicyOptions;
using testing::Blocker;
using testing::Census;
using testing::count_of_ended;
using testing::Countdown;
using testing::drain_all;
using testing::Driver;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;
using testing::TestBackend;
using testing::TestDevice;

constexpr std::array<std::size_t, kOpClasses> kCeilings = {5, 3, 2, 1};

Config with_ceilings(Config config) {
  for (const OpClass c : kAllOpClasses) {
    config.gates[index_of(c)].limit = kCeilings[index_of(c)];
    config.gates[index_of(c)].ceiling = kCeilings[index_of(c)];
  }
  return config;
}

/// A policy that asks for anything at all.
class WildPolicy final : public LimitPolicy {
 public:
  explicit WildPolicy(std::size_t initial) : initial_(initial) {}
  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }
  std::optional<std::size_t> observe(const policies::Observation&) noexcept override {
    return random_() % 3 == 0 ? std::nullopt : std::optional<std::size_t>(random_() % 5'000);
  }

 private:
  std::size_t initial_;
  std::minstd_rand random_{5};
};

// ---- 1 ----

TEST(Promise1, InUseNeverPassesTheCeilingUnderAnyReloadPolicyOrRace) {
  const Config config = with_ceilings(inline_config(3));
  ExecutorOptions options{.config = config};
  options.limit_policy = [](OpClass, const LimitPolicyOptions& wanted) {
    return std::make_unique<WildPolicy>(wanted.initial);
  };
  Executor executor(std::move(options));
  std::array<Census, kOpClasses> census;
  std::atomic<bool> stop{false};
  std::vector<std::jthread> movers;
  movers.emplace_back([&] {
    for (std::size_t i = 0; !stop.load(); ++i) {
      executor.set_limit(kAllOpClasses[i % kOpClasses], i % 9);
    }
  });
  movers.emplace_back([&] {
    for (std::size_t i = 0; !stop.load(); ++i) {
      Config next = config;
      for (const OpClass c : kAllOpClasses) {
        next.gates[index_of(c)].limit = 1 + i % kCeilings[index_of(c)];
      }
      (void)executor.apply(next);
    }
  });
  movers.emplace_back([&] {
    while (!stop.load()) {
      const Snapshot snapshot = executor.snapshot();
      for (const OpClass c : kAllOpClasses) {
        EXPECT_LE(snapshot.gates[index_of(c)].in_use, kCeilings[index_of(c)]);
        EXPECT_LE(snapshot.gates[index_of(c)].limit, kCeilings[index_of(c)]);
      }
    }
  });
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        std::minstd_rand random(t + 1);
        for (int i = 0; i < 500; ++i) {
          const auto classes = policies::OpClassSet::from_lane(random() % kLanes);
          const auto work = [&census, classes] {
            for (const OpClass c : kAllOpClasses) {
              if (!classes.contains(c)) continue;
              EXPECT_LE(census[index_of(c)].enter(), kCeilings[index_of(c)]);
            }
            for (const OpClass c : kAllOpClasses) {
              if (classes.contains(c)) census[index_of(c)].leave();
            }
          };
          if (random() % 2 == 0) {
            EXPECT_TRUE(executor.run({.op_class = classes}, work));
          } else {
            (void)executor.submit({.op_class = classes}, work);
          }
        }
      });
    }
  }
  stop = true;
  movers.clear();
  drain_all(executor);
  EXPECT_EQ(count_of_ended(executor.snapshot()), 3'000U);
}

// ---- 2 ----

TEST(Promise2, EveryTaskEndsInExactlyOneOutcomeWhateverHappensToIt) {
  Config config = with_ceilings(inline_config(2));
  config.queue.max_tasks = 40;
  config.queue.max_bytes = 400;
  config.queue.when_full = policies::WhenFull::kShedLowest;
  std::atomic<std::uint64_t> told{0};
  std::uint64_t made = 0;
  {
    Executor executor({.config = config});
    std::minstd_rand random(11);
    std::stop_source stop;
    // While nothing else is there, as on a busy machine the workers may get none of the others.
    EXPECT_EQ(executor.run([] {}).outcome(), Outcome::kOk);
    EXPECT_THROW((void)executor.run([] { throw 42; }), int);
    made += 2;
    told += 2;
    for (int i = 0; i < 20'000; ++i) {
      if (i % 100 == 0) {
        stop.request_stop();
        stop = {};
      }
      TaskOptions options{.op_class = policies::OpClassSet::from_lane(random() % kLanes),
                          .priority = static_cast<Priority>(random() % kPriorities),
                          .cost_bytes = random() % 30};
      if (random() % 4 == 0) options.stop = stop.get_token();
      if (random() % 4 == 0) {
        options.deadline = Clock::now() + std::chrono::microseconds(random() % 300) -
                           std::chrono::microseconds(50);
      }
      auto future = executor.submit(options, [fail = random() % 8 == 0] {
        if (fail) throw 42;
      });
      ++made;
      if (random() % 8 == 0) (void)future.cancel();
      // A continuation is told once; if one were told twice, the count would be too high.
      (void)std::move(future).then([&](Result<void>) { ++told; });
    }
    const DrainReport report = executor.drain(Drain::kCancelQueued, kGuard);
    EXPECT_TRUE(report.drained);
    EXPECT_EQ(told.load(), made);
    const Snapshot snapshot = executor.snapshot();
    EXPECT_EQ(count_of_ended(snapshot), made);
    for (const Outcome outcome :
         {Outcome::kOk, Outcome::kShed, Outcome::kExpired, Outcome::kCancelled, Outcome::kFailed}) {
      EXPECT_GT(testing::count_of(snapshot, outcome), 0U)
          << to_string(outcome) << " never happened, so it was not tested";
    }
  }
  EXPECT_EQ(told.load(), made);
}

TEST(Promise2, DrainReturnsWithinItsDeadlineWhateverRuns) {
  Executor executor({.config = inline_config(2)});
  Blocker blocker(executor);
  Blocker other(executor, {.op_class = OpClass::kGraph});
  for (int i = 0; i < 1'000; ++i) (void)executor.submit([] {});
  for (const Drain mode : {Drain::kFinish, Drain::kCancelQueued, Drain::kCancelAll}) {
    const auto before = Clock::now();
    EXPECT_FALSE(executor.drain(mode, std::chrono::milliseconds(10)).drained);
    EXPECT_LT(Clock::now() - before, std::chrono::seconds(10));
  }
}

// ---- 3 ----

TEST(Promise3, AStreamHasOneOwnerUntilTheDeviceIsDoneWithIt) {
  auto device = std::make_shared<TestDevice>();
  device->completion = TestDevice::Completion::kWhenTold;
  {
    Config config = testing::with_gate(inline_config(3), OpClass::kRaw, 6, 6);
    config.executor.streams = 5;  // Fewer than permits, so that they are fought for.
    Executor executor({.config = config, .backend = std::make_unique<TestBackend>(device)});
    const Driver driver(device);
    std::array<Census, TestDevice::kStreams> owners;
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        const auto work = [&](TaskContext& context) {
          EXPECT_EQ(owners[context.stream()].enter(), 1U);
          owners[context.stream()].leave();
        };
        for (int i = 0; i < 300; ++i) {
          if (t % 2 == 0) {
            EXPECT_TRUE(executor.run(work));
          } else {
            EXPECT_TRUE(executor.submit(work).get());
          }
        }
      });
    }
    threads.clear();
    drain_all(executor);
  }
  // The device would have seen a stream entered while it still worked on it.
  for (const std::string& violation : device->violations()) ADD_FAILURE() << violation;
  EXPECT_EQ(device->completed.load(), 1'800U);
}

// ---- 5 ----

/// Everything that takes a lock of the executor's somewhere. It hangs where such a lock is held.
void use_everything(Executor& executor) {
  (void)executor.snapshot();
  (void)executor.config();
  executor.set_limit(OpClass::kKernel, 1);
  (void)executor.apply(executor.config());
  auto future = executor.submit(
      {.op_class = OpClass::kGraph, .deadline = Clock::now() + std::chrono::hours(1)}, [] {});
  (void)future.cancel();
}

/// The same from another thread, while the caller waits for it: no lock that a thread may take
/// twice hides behind its owner.
void use_everything_elsewhere(Executor& executor) {
  Event done;
  std::jthread elsewhere([&] {
    use_everything(executor);
    done.set();
  });
  EXPECT_TRUE(done.wait()) << "a lock of the executor's is held while the user's code runs";
}

class Promise5 : public ::testing::Test {
 protected:
  Executor executor{ExecutorOptions{.config = inline_config(2)}};
};

TEST_F(Promise5, NoLockIsHeldWhileATaskRuns) {
  EXPECT_TRUE(executor.submit([&] { use_everything_elsewhere(executor); }).get());
  EXPECT_TRUE(executor.run([&] { use_everything_elsewhere(executor); }));
  EXPECT_TRUE(
      executor.run([&] { (void)executor.run([&] { use_everything_elsewhere(executor); }); }));
}

TEST_F(Promise5, NoLockIsHeldWhileAContinuationRuns) {
  const auto look = [&](Result<void>) { use_everything_elsewhere(executor); };
  EXPECT_TRUE(executor.submit([] {}).then(look).get());
  // On the thread that cancels, the one whose submission sheds or expires, and the timer's.
  std::optional<Blocker> first(executor);
  std::optional<Blocker> second(executor);
  auto in_inbox = executor.submit([] {});
  auto in_place = executor.submit([] {});
  std::stop_source stop;
  auto stopped = executor.submit({.stop = stop.get_token()}, [] {}).then(look);
  auto expired =
      executor.submit({.deadline = Clock::now() + std::chrono::milliseconds(5)}, [] {}).then(look);
  stop.request_stop();
  EXPECT_TRUE(stopped.get());
  EXPECT_TRUE(expired.get());
  EXPECT_EQ(in_place.cancel(), CancelResult::kCancelled);
  auto behind = std::move(in_inbox).then(look);
  first.reset();
  second.reset();
  EXPECT_TRUE(behind.get());
  auto past = executor.submit({.deadline = Clock::time_point::min()}, [] {}).then(look);
  EXPECT_TRUE(past.get());
}

TEST_F(Promise5, NoLockIsHeldWhileAShedTaskIsToldOrACancelledOneIsDestroyed) {
  Config config = inline_config(1);
  config.queue.max_tasks = 1;
  config.queue.when_full = policies::WhenFull::kShedLowest;
  Executor small({.config = config});
  Blocker blocker(small);
  struct Last {
    std::function<void()> at_end;
    explicit Last(std::function<void()> end) : at_end(std::move(end)) {}
    Last(Last&&) = default;
    ~Last() {
      if (at_end) at_end();
    }
  };
  std::atomic<int> ended{0};
  auto low = small.submit({.priority = Priority::kLowest}, [last = std::make_unique<Last>([&] {
                                                              use_everything_elsewhere(small);
                                                              ++ended;
                                                            })] {});
  auto told = std::move(low).then([&](Result<void> result) {
    EXPECT_EQ(result.outcome(), Outcome::kShed);
    use_everything_elsewhere(small);
    ++ended;
  });
  auto high = small.submit({.priority = Priority::kHigh}, [] {});
  EXPECT_TRUE(told.get());
  EXPECT_EQ(ended.load(), 2);
}

TEST_F(Promise5, NoLockIsHeldWhileAStopCallbackOfTheUsersRuns) {
  std::optional<Blocker> first(executor);
  std::optional<Blocker> second(executor);
  std::stop_source stop;
  auto waiting = executor.submit({.stop = stop.get_token()}, [] {});
  const std::stop_callback callback(stop.get_token(), [&] { use_everything_elsewhere(executor); });
  stop.request_stop();
  EXPECT_EQ(waiting.get().outcome(), Outcome::kCancelled);
}

TEST_F(Promise5, NoLockOfTheTaskPathIsHeldWhileTheBackendWorks) {
  auto device = std::make_shared<TestDevice>();
  Executor* raw = nullptr;
  device->on_open = [&](StreamIndex) { use_everything_elsewhere(*raw); };
  Executor with_device(
      {.config = inline_config(1), .backend = std::make_unique<TestBackend>(device)});
  raw = &with_device;
  EXPECT_TRUE(with_device.submit([] {}).get());
  EXPECT_TRUE(with_device.run([] {}));
  EXPECT_EQ(device->opened.load(), 2U);
}

TEST_F(Promise5, WorkersAreBoundSideBySide) {
  auto device = std::make_shared<TestDevice>();
  Countdown both(2);
  device->on_bind = [&] { EXPECT_TRUE(both.arrive_and_wait()) << "one binds at a time"; };
  Executor with_device(
      {.config = inline_config(2), .backend = std::make_unique<TestBackend>(device)});
  Countdown together(2);
  auto first = with_device.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); });
  auto second = with_device.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); });
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
}

TEST_F(Promise5, NoLockIsHeldWhileALimitPolicyIsMade) {
  Executor* raw = nullptr;
  ExecutorOptions options{.config = testing::with_gate(inline_config(1), OpClass::kRaw, 1, 4)};
  options.limit_policy = [&](OpClass, const LimitPolicyOptions& wanted) {
    if (raw != nullptr) {
      Event done;
      std::jthread elsewhere([&] {
        (void)raw->snapshot();
        (void)raw->config();
        done.set();
      });
      EXPECT_TRUE(done.wait()) << "a lock is held while the user's policy is made";
    }
    return policies::make_limit_policy(wanted);
  };
  Executor with_policy(std::move(options));
  raw = &with_policy;
  Config next = with_policy.config();
  next.gates[0].limit = 2;
  EXPECT_TRUE(with_policy.apply(next).empty());
}

TEST_F(Promise5, NoThreadOfTheExecutorBlocksOnAGate) {
  // Two workers; the graph permit is out and many graph tasks wait: both workers still serve
  // others.
  Blocker graph(executor, {.op_class = OpClass::kGraph});
  std::vector<Future<void>> waiting;
  for (int i = 0; i < 100; ++i) {
    waiting.push_back(executor.submit({.op_class = OpClass::kGraph}, [] {}));
  }
  const auto threads_before = testing::thread_count();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(executor.submit([] {}).get());
  EXPECT_EQ(testing::thread_count(), threads_before);
  graph.end();
  for (auto& future : waiting) EXPECT_TRUE(future.get());
}

// ---- 6 ----

std::atomic<int> forks{0};

TEST(Promise6, ForkIsNeverUsed) {
  ASSERT_EQ(pthread_atfork([] { ++forks; }, nullptr, nullptr), 0);
  forks = 0;
  {
    Executor executor({.config = inline_config(2)});
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(executor.submit([] {}).get());
    EXPECT_TRUE(executor.run([] {}));
    (void)executor.provenance();
    drain_all(executor);
  }
  EXPECT_EQ(forks.load(), 0);
}

}  // namespace
}  // namespace streamgate::executor

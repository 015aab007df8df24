// SPDX-License-Identifier: Apache-2.0
//
// Everything at once, by chance: both doors, all classes, priorities, deadlines, stops, cancels,
// continuations, coroutines, nested work, a small queue that sheds, a device that finishes later,
// moving limits; and executors that end in the middle of it. The seeds are printed; one may be
// given as STREAMGATE_STRESS_SEED.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../support/coroutine.h"
#include "../support/event.h"
#include "../support/executors.h"
#include "../support/test_device.h"

namespace streamgate {
namespace {

using executor::index_of;
using executor::kOutcomes;
using executor::kPriorities;
using policies::kAllOpClasses;
using policies::kLanes;
using policies::kOpClasses;
using testing::Census;
using testing::Detached;
using testing::Driver;
using testing::eventually;
using testing::kGuard;
using testing::TestBackend;
using testing::TestDevice;

using Random = std::minstd_rand;

constexpr bool kSanitized = !std::string_view(STREAMGATE_TEST_SANITIZER).empty();
constexpr std::array<std::size_t, kOpClasses> kMixCeilings = {6, 3, 2, 1};

unsigned make_seed() {
  const char* const given = std::getenv("STREAMGATE_STRESS_SEED");
  const unsigned seed = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                         : std::random_device{}();
  std::cout << "STREAMGATE_STRESS_SEED=" << seed << '\n';
  return seed;
}

/// What all threads of one run share.
struct World {
  std::array<Census, kOpClasses> inside;
  std::atomic<std::uint64_t> violations{0};
  /// Of tasks: asked for, told by whatever way, by outcome.
  std::atomic<std::uint64_t> asked{0};
  std::array<std::atomic<std::uint64_t>, kOutcomes> told{};
  std::atomic<std::uint64_t> refused_waits{0};

  void tell(Outcome outcome) { told[index_of(outcome)].fetch_add(1); }
  [[nodiscard]] std::uint64_t told_in_all() const {
    std::uint64_t sum = 0;
    for (const auto& count : told) sum += count.load();
    return sum;
  }
};

/// The body of a task: looks who is inside beside it, and perhaps does something unwise.
void body(Executor& executor, World& world, OpClassSet classes, unsigned dice,
          executor::TaskContext& context) {
  for (const OpClass c : kAllOpClasses) {
    const std::size_t i = policies::index_of(c);
    if (classes.contains(c) && world.inside[i].enter() > kMixCeilings[i]) ++world.violations;
    if (classes.contains(OpClass::kExclusive) != (c == OpClass::kExclusive) &&
        world.inside[policies::index_of(OpClass::kExclusive)].inside() != 0 &&
        !classes.contains(OpClass::kExclusive)) {
      ++world.violations;
    }
  }
  struct Leave {
    World& world;
    OpClassSet classes;
    ~Leave() {
      for (const OpClass c : kAllOpClasses) {
        if (classes.contains(c)) world.inside[policies::index_of(c)].leave();
      }
    }
  } const leave{world, classes};
  switch (dice % 16) {
    case 0:
      throw static_cast<int>(dice);
    case 1:
      context.throw_if_cancelled();
      return;
    case 2: {  // Waits for a task of its own.
      ++world.asked;
      auto inner = executor.submit({.op_class = OpClass::kRaw}, [] {});
      try {
        if (inner.wait_for(kGuard)) {
          world.tell(inner.get().outcome());
        } else {
          ++world.violations;
        }
      } catch (const NestedWaitError&) {
        ++world.refused_waits;
        (void)std::move(inner).then([&world](Result<void> r) { world.tell(r.outcome()); });
      }
      return;
    }
    case 3:  // Runs one, of a class that it may not have. One that is refused never was a task.
      ++world.asked;
      try {
        world.tell(
            executor.run({.op_class = OpClassSet::from_lane(dice / 16 % kLanes)}, [] {}).outcome());
      } catch (const NestedWaitError&) {
        --world.asked;
        ++world.refused_waits;
      }
      return;
    case 4:  // Leaves one behind.
      ++world.asked;
      (void)executor.submit([] {}).then([&world](Result<void> r) { world.tell(r.outcome()); });
      return;
    case 5:
      std::this_thread::yield();
      return;
    default:
      return;
  }
}

TaskOptions draw_options(Random& random, const std::stop_source& stop) {
  const auto drawn = random() % 100;
  TaskOptions options;
  options.op_class =
      drawn < 2 ? OpClassSet(OpClass::kExclusive) : OpClassSet::from_lane(random() % (kLanes - 1));
  options.priority = static_cast<Priority>(random() % kPriorities);
  options.cost_bytes = random() % 4 == 0 ? random() % 50 : 0;
  if (random() % 3 == 0) {
    options.deadline =
        Clock::now() + std::chrono::microseconds(random() % 2'000) - std::chrono::microseconds(20);
  }
  if (random() % 3 == 0) options.stop = stop.get_token();
  return options;
}

Detached await_and_tell(Future<void> future, World& world) {
  Outcome outcome = Outcome::kFailed;
  try {
    outcome = (co_await std::move(future)).outcome();
  } catch (const int) {
  }
  world.tell(outcome);
}

/// Asks for one task in one of the ways there are. The callable must not outlive the world.
/// Returns whether the executor still takes tasks.
bool ask(Executor& executor, World& world, Random& random, std::stop_source& stop) {
  const TaskOptions options = draw_options(random, stop);
  const OpClassSet classes = *options.op_class;
  const auto task = [&executor, &world, classes,
                     dice = static_cast<unsigned>(random())](executor::TaskContext& context) {
    body(executor, world, classes, dice, context);
  };
  if (random() % 50 == 0) {
    stop.request_stop();
    stop = {};
  }
  ++world.asked;
  if (random() % 3 == 0) {
    Outcome outcome = Outcome::kFailed;
    try {
      outcome = executor.run(options, task).outcome();
    } catch (const int) {
    }
    world.tell(outcome);
    return outcome != Outcome::kShutdown;
  }
  auto future = executor.submit(options, task);
  const bool ready = future.ready();
  if (random() % 8 == 0) (void)future.cancel();
  switch (random() % 4) {
    case 0: {
      Outcome outcome = Outcome::kFailed;
      try {
        while (!future.wait_for(std::chrono::microseconds(random() % 100))) {
        }
        outcome = future.get().outcome();
      } catch (const int) {
      }
      world.tell(outcome);
      return outcome != Outcome::kShutdown;
    }
    case 1:
      await_and_tell(std::move(future), world);
      return true;
    case 2:
      (void)std::move(future)
          .then([](Result<void> result) { return result.outcome(); })
          .then([&world](Result<Outcome> result) { world.tell(result.value()); });
      return true;
    default:
      if (ready) {
        Outcome outcome = Outcome::kFailed;
        try {
          outcome = future.get().outcome();
        } catch (const int) {
        }
        world.tell(outcome);
        return outcome != Outcome::kShutdown;
      }
      (void)std::move(future).then([&world](Result<void> r) { world.tell(r.outcome()); });
      return true;
  }
}

Config draw_config(Random& random) {
  Config config = testing::inline_config(1 + random() % 4);
  config.executor.streams = 1 + random() % 12;
  config.queue.max_tasks = 1 + random() % 60;
  config.queue.max_bytes = 1 + random() % 300;
  if (random() % 2 == 0) config.queue.when_full = policies::WhenFull::kShedLowest;
  for (const OpClass c : kAllOpClasses) {
    const std::size_t i = policies::index_of(c);
    config.gates[i] = {.limit = 1 + random() % kMixCeilings[i], .ceiling = kMixCeilings[i]};
  }
  return config;
}

std::vector<std::pair<OpClass, OpClass>> draw_incompatible(Random& random) {
  if (random() % 2 == 0) return {};
  return {{kAllOpClasses[random() % 3], kAllOpClasses[random() % 3]}};
}

void move_limits(const std::stop_token& stop, Executor& executor, unsigned seed) {
  Random random(seed);
  while (!stop.stop_requested()) {
    const OpClass c = kAllOpClasses[random() % kOpClasses];
    executor.set_limit(c, random() % 8);
    std::this_thread::yield();
  }
}

struct Plan {
  unsigned seed = 0;
  bool later = false;  ///< The device finishes its work on a thread of its own.
  int tasks_each = 0;
  /// How it ends: after all have asked, or by a drain in the middle, after which every thread is
  /// told kShutdown before the executor goes.
  std::optional<Drain> end;
};

void live(const Plan& plan, Random& random) {
  SCOPED_TRACE(plan.seed);
  constexpr std::size_t kThreads = 8;
  World world;
  auto device = std::make_shared<TestDevice>();
  if (plan.later) device->completion = TestDevice::Completion::kWhenTold;
  const Driver driver(device);
  {
    Executor executor({.config = draw_config(random),
                       .backend = std::make_unique<TestBackend>(device),
                       .incompatible = draw_incompatible(random)});
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Random own(plan.seed * 31 + t + 1);
        std::stop_source stop;
        bool open = true;
        for (int i = 0; open && (plan.end || i < plan.tasks_each); ++i) {
          open = ask(executor, world, own, stop);
        }
      });
    }
    {
      std::jthread mover(
          [&](const std::stop_token& stop) { move_limits(stop, executor, plan.seed + 1); });
      if (plan.end) {
        EXPECT_TRUE(eventually([&] { return world.asked.load() > 500; }));
        EXPECT_TRUE(executor.drain(*plan.end, kGuard).drained);
      }
      threads.clear();
    }
    EXPECT_TRUE(executor.drain(Drain::kFinish, kGuard).drained);
    const Snapshot snapshot = executor.snapshot();
    testing::expect_at_rest(snapshot);
    EXPECT_EQ(world.told_in_all(), world.asked.load()) << "one outcome for every task";
    EXPECT_EQ(testing::count_of_ended(snapshot), world.asked.load()) << "the counters agree";
    for (std::size_t o = 0; o < kOutcomes; ++o) {
      const auto outcome = static_cast<Outcome>(o);
      EXPECT_EQ(testing::count_of(snapshot, outcome), world.told[o].load())
          << to_string(outcome) << ' ' << reason(outcome);
    }
  }
  EXPECT_EQ(world.violations.load(), 0U);
  for (const Census& census : world.inside) EXPECT_EQ(census.inside(), 0U);
  for (const std::string& violation : device->violations()) ADD_FAILURE() << violation;
}

TEST(MixStress, SlowEveryTaskHasOneOutcomeAndNothingIsLeft) {
  const unsigned seed = make_seed();
  Random random(seed);
  const int rounds = kSanitized ? 8 : 12;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    live({.seed = seed + static_cast<unsigned>(round),
          .later = round % 2 == 1,
          .tasks_each = kSanitized ? 1'000 : 4'000,
          .end = std::nullopt},
         random);
  }
}

TEST(MixStress, SlowExecutorsThatEndInTheMiddleLoseNobody) {
  const unsigned seed = make_seed();
  Random random(seed);
  const int rounds = kSanitized ? 60 : 150;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    live({.seed = seed + static_cast<unsigned>(round),
          .later = random() % 2 == 0,
          .tasks_each = 0,
          .end = static_cast<Drain>(random() % 3)},
         random);
  }
}

// Submissions that are still returning, tasks that end, and an executor that ends with them.
TEST(MixStress, SlowLastTaskMayEndTheExecutor) {
  const int rounds = kSanitized ? 1'200 : 4'000;
  for (int round = 0; round < rounds; ++round) {
    auto executor = std::make_unique<Executor>(
        ExecutorOptions{.config = testing::inline_config(1 + static_cast<std::size_t>(round) % 2)});
    constexpr int kThreads = 3;
    std::atomic<int> ran{0};
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, raw = executor.get()] {
        const TaskOptions options{.deadline = Clock::now() + kGuard};
        if (t % 3 == 0) {
          (void)raw->run(options, [&] { ++ran; });
        } else {
          (void)raw->submit(options, [&] { ++ran; });
        }
      });
    }
    ASSERT_TRUE(eventually([&] { return ran.load() == kThreads; }));
    executor.reset();
  }
}

}  // namespace
}  // namespace streamgate

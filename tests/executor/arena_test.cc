// SPDX-License-Identifier: Apache-2.0
//
// The workers: how many there are, what they are called, and that none is missing when there is
// work; and the thread that keeps the deadlines.
#include <streamgate/executor.h>
#include <streamgate/executor/backends/inline.h>
#include <streamgate/executor/internal/arena.h>
#include <streamgate/executor/internal/deadline_timer.h>
#include <streamgate/executor/internal/thread_name.h>

#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../support/cores.h"
#include "../support/event.h"
#include "../support/executors.h"
#include "../support/process.h"

namespace streamgate::executor {
namespace {

using oneapi::tbb::global_control;
using testing::Countdown;
using testing::Event;
using testing::eventually;
using testing::inline_config;
using testing::kGuard;


std::size_t allowed_parallelism() {
  return global_control::active_value(global_control::max_allowed_parallelism);
}

/// Hands out so many pieces of work.
class Pile final : public WorkSource {
 public:
  void work() noexcept override {
    census.enter();
    std::size_t left = pieces.load();
    while (left != 0) {
      if (pieces.compare_exchange_weak(left, left - 1)) done.fetch_add(1);
    }
    census.leave();
  }
  std::atomic<std::size_t> pieces{0};
  std::atomic<std::size_t> done{0};
  testing::Census census;
};

TEST(Arena, NothingThatWasMadeStartableBeforeACallIsOverlooked) {
  const auto backend = make_inline_backend();
  for (const std::size_t threads : {1U, 2U, 4U}) {
    Pile pile;
    Arena arena(threads, *backend, pile);
    EXPECT_EQ(arena.threads(), threads);
    for (std::size_t i = 1; i <= 3'000; ++i) {
      pile.pieces.fetch_add(1);
      (void)arena.call();
      if (i % 3 == 0) {
        ASSERT_TRUE(eventually([&] { return pile.done.load() == i; })) << "overlooked";
      }
    }
    EXPECT_LE(pile.census.peak(), threads);
    EXPECT_TRUE(arena.wait_idle(std::chrono::steady_clock::now() + kGuard));
    EXPECT_EQ(arena.tickets(), 0U);
  }
}

TEST(Arena, CallsFromManyThreadsOverlookNothing) {
  const auto backend = make_inline_backend();
  Pile pile;
  Arena arena(2, *backend, pile);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 3'000; ++i) {
          pile.pieces.fetch_add(1);
          (void)arena.call();
        }
      });
    }
  }
  EXPECT_TRUE(eventually([&] { return pile.done.load() == 12'000; }));
  EXPECT_LE(pile.census.peak(), 2U);
  EXPECT_TRUE(arena.wait_idle(std::chrono::steady_clock::now() + kGuard));
}

/// Work that lasts until it is told to end.
class Long final : public WorkSource {
 public:
  void work() noexcept override {
    started.set();
    EXPECT_TRUE(end.wait());
  }
  Event started;
  Event end;
};

TEST(Arena, WaitForIdleEndsAtItsDeadlineOrWithTheLastTicket) {
  const auto backend = make_inline_backend();
  Long work;
  Arena arena(1, *backend, work);
  EXPECT_TRUE(arena.wait_idle(std::chrono::steady_clock::time_point::min()))
      << "nothing to wait for";
  EXPECT_TRUE(arena.call());
  ASSERT_TRUE(work.started.wait());
  EXPECT_FALSE(arena.wait_idle(std::chrono::steady_clock::now() + std::chrono::milliseconds(5)));
  EXPECT_EQ(arena.tickets(), 1U);
  EXPECT_FALSE(arena.call()) << "all are at work, and one of them will look";
  work.end.set();
  EXPECT_TRUE(arena.wait_idle(std::chrono::steady_clock::time_point::max()));
}

TEST(Arena, OneWhoStopsWaitingDoesNotLeaveAnotherAsleep) {
  const auto backend = make_inline_backend();
  Long work;
  Arena arena(1, *backend, work);
  EXPECT_TRUE(arena.call());
  ASSERT_TRUE(work.started.wait());
  Event idle;
  std::jthread patient([&] {
    EXPECT_TRUE(arena.wait_idle(std::chrono::steady_clock::time_point::max()));
    idle.set();
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(arena.wait_idle(std::chrono::steady_clock::now() + std::chrono::milliseconds(1)));
  }
  work.end.set();
  EXPECT_TRUE(idle.wait()) << "nobody told the other one";
}

TEST(Arena, MoreWorkersThanTbbAllowsRaiseItsLimitAndGiveItBack) {
  const std::size_t before = allowed_parallelism();
  const std::size_t threads = testing::cores() + 3;
  {
    Executor executor({.config = inline_config(threads)});
    EXPECT_TRUE(executor.snapshot().arena.raised_global_limit);
    EXPECT_GT(allowed_parallelism(), threads);
    Countdown together(threads);
    std::vector<Future<void>> futures;
    for (std::size_t i = 0; i < threads; ++i) {
      futures.push_back(
          executor.submit([&] { EXPECT_TRUE(together.arrive_and_wait()) << "too few workers"; }));
    }
    for (auto& future : futures) EXPECT_TRUE(future.get());
    EXPECT_EQ(executor.snapshot().arena.threads, threads);
  }
  EXPECT_EQ(allowed_parallelism(), before);
}

TEST(Arena, FewWorkersLeaveTbbsLimitAlone) {
  if (testing::cores() < 2) GTEST_SKIP() << "one core: any worker is more than TBB has";
  const std::size_t before = allowed_parallelism();
  Executor executor({.config = inline_config(1)});
  EXPECT_FALSE(executor.snapshot().arena.raised_global_limit);
  EXPECT_EQ(allowed_parallelism(), before);
}

TEST(Arena, ExecutorsAddUpTheirWorkers) {
  const std::size_t before = allowed_parallelism();
  const std::size_t threads = testing::cores() + 1;
  {
    Executor first({.config = inline_config(threads)});
    {
      Executor second({.config = inline_config(threads)});
      Countdown together(2 * threads);
      std::vector<Future<void>> futures;
      for (std::size_t i = 0; i < 2 * threads; ++i) {
        futures.push_back((i % 2 == 0 ? first : second).submit([&] {
          EXPECT_TRUE(together.arrive_and_wait()) << "one took the other's workers";
        }));
      }
      for (auto& future : futures) EXPECT_TRUE(future.get());
    }
    Countdown together(threads);
    std::vector<Future<void>> futures;
    for (std::size_t i = 0; i < threads; ++i) {
      futures.push_back(first.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); }));
    }
    for (auto& future : futures) EXPECT_TRUE(future.get());
  }
  EXPECT_EQ(allowed_parallelism(), before);
}

TEST(Arena, WorkersAreNamedWhileTheyWorkAndGetTheirNamesBack) {
  std::set<std::string> names;
  {
    Executor executor({.config = inline_config(3)});
    std::mutex mutex;
    Countdown together(3);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 3; ++i) {
      futures.push_back(executor.submit([&] {
        {
          const std::lock_guard lock(mutex);
          names.insert(thread_name());
        }
        EXPECT_TRUE(together.arrive_and_wait());
      }));
    }
    for (auto& future : futures) EXPECT_TRUE(future.get());
    const std::string here = thread_name();
    EXPECT_TRUE(executor.run([&] { EXPECT_EQ(thread_name(), here) << "a caller keeps its name"; }));
  }
  EXPECT_EQ(names, (std::set<std::string>{"sg-worker-0", "sg-worker-1", "sg-worker-2"}));
  EXPECT_EQ(testing::threads_named("sg-worker-"), 0U);
}

TEST(ThreadName, IsCutWhereTheSystemsIsShorter) {
  std::jthread([] {
    set_thread_name("a-name-that-is-longer-than-linux-allows");
    EXPECT_EQ(thread_name().rfind("a-name-that-is-", 0), 0U) << thread_name();
    set_thread_name("short");
    EXPECT_EQ(thread_name(), "short");
  }).join();
}

// ---- the timer ----

constexpr Clock::time_point kNone = Clock::time_point::max();

TEST(DeadlineTimer, CallsBackWhenTheDeadlineHasCome) {
  Event called;
  Clock::time_point at{};
  DeadlineTimer timer([&](Clock::time_point now) {
    at = now;
    called.set();
    return kNone;
  });
  const auto deadline = Clock::now() + std::chrono::milliseconds(5);
  timer.arm(deadline);
  ASSERT_TRUE(called.wait());
  EXPECT_GE(at, deadline);
}

TEST(DeadlineTimer, EarlierDeadlineOvertakesAndTheCallbackNamesTheNext) {
  std::atomic<int> calls{0};
  DeadlineTimer timer([&](Clock::time_point now) {
    return ++calls < 3 ? now + std::chrono::milliseconds(1) : kNone;
  });
  timer.arm(Clock::now() + std::chrono::hours(5));
  timer.arm(Clock::now() + std::chrono::hours(6));
  timer.arm(Clock::now() + std::chrono::milliseconds(2));
  EXPECT_TRUE(eventually([&] { return calls.load() == 3; }));
}

TEST(DeadlineTimer, DeadlineInThePastIsDueAtOnce) {
  Event called;
  DeadlineTimer timer([&](Clock::time_point) {
    called.set();
    return kNone;
  });
  timer.arm(Clock::time_point::min());
  EXPECT_TRUE(called.wait());
}

TEST(DeadlineTimer, DeadlineArmedDuringTheCallbackIsKept) {
  Event second;
  std::atomic<int> calls{0};
  std::unique_ptr<DeadlineTimer> timer;
  Event made;
  timer = std::make_unique<DeadlineTimer>([&](Clock::time_point now) {
    EXPECT_TRUE(made.wait());
    if (++calls == 1) {
      timer->arm(now + std::chrono::milliseconds(1));
    } else {
      second.set();
    }
    return kNone;  // Knows nothing of the one that was armed.
  });
  made.set();
  timer->arm(Clock::now());
  EXPECT_TRUE(second.wait());
}

TEST(DeadlineTimer, NoDeadlineIsForgottenUnderConcurrentArming) {
  // As the executor does: a deadline is known before it is armed, and the callback names the next.
  std::mutex mutex;
  std::multiset<Clock::time_point> known;
  std::atomic<Clock::rep> kept{Clock::time_point::min().time_since_epoch().count()};
  DeadlineTimer timer([&](Clock::time_point now) {
    const std::lock_guard lock(mutex);
    known.erase(known.begin(), known.upper_bound(now));
    kept = now.time_since_epoch().count();
    return known.empty() ? kNone : *known.begin();
  });
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 300; ++i) {
        const auto deadline = Clock::now() + std::chrono::microseconds(random() % 200);
        {
          const std::lock_guard lock(mutex);
          known.insert(deadline);
        }
        timer.arm(deadline);
        ASSERT_TRUE(eventually([&] { return kept.load() >= deadline.time_since_epoch().count(); }))
            << "forgotten";
      }
    });
  }
}

TEST(DeadlineTimer, EndsAtOnceWhateverIsArmed) {
  for (int i = 0; i < 50; ++i) {
    DeadlineTimer timer([](Clock::time_point) { return kNone; });
    if (i % 2 == 0) timer.arm(Clock::now() + std::chrono::hours(1));
  }
}

}  // namespace
}  // namespace streamgate::executor

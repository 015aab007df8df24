// SPDX-License-Identifier: Apache-2.0
//
// Ten million admissions from 64 threads by both doors, while the limits change a thousand times a
// second: the ceiling is never passed, exclusive work is alone, and every task ends once.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../support/executors.h"

namespace streamgate {
namespace {

using policies::index_of;
using policies::kAllOpClasses;
using policies::kOpClasses;
using testing::Census;

constexpr std::size_t kThreads = 64;
constexpr std::size_t kWindow = 64;  ///< Tasks that a thread has submitted and not yet fetched.
constexpr std::array<std::size_t, kOpClasses> kCeilings = {24, 6, 3, 1};

/// Sanitizers take ten times as long: there, fewer, unless STREAMGATE_STRESS_ADMISSIONS says how many.
std::uint64_t admissions() {
  if (const char* const wanted = std::getenv("STREAMGATE_STRESS_ADMISSIONS")) {
    return std::stoull(wanted);
  }
  return std::string_view(STREAMGATE_TEST_SANITIZER).empty() ? 10'000'000 : 1'000'000;
}

struct Accounts {
  std::array<Census, kOpClasses> inside;
  std::atomic<std::uint64_t> violations{0};
  std::atomic<std::uint64_t> ran{0};
};

/// What every task does: it is counted in by its classes, looks around, and is counted out.
void look_around(Accounts& accounts, OpClassSet classes) {
  for (const OpClass c : kAllOpClasses) {
    if (classes.contains(c) && accounts.inside[index_of(c)].enter() > kCeilings[index_of(c)]) {
      ++accounts.violations;
    }
  }
  if (classes.contains(OpClass::kExclusive)) {
    for (const OpClass c : {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph}) {
      if (accounts.inside[index_of(c)].inside() != 0) ++accounts.violations;
    }
  } else if (accounts.inside[index_of(OpClass::kExclusive)].inside() != 0) {
    ++accounts.violations;
  }
  for (const OpClass c : kAllOpClasses) {
    if (classes.contains(c)) accounts.inside[index_of(c)].leave();
  }
  accounts.ran.fetch_add(1, std::memory_order_relaxed);
}

OpClassSet draw_class(std::minstd_rand& random) {
  const auto drawn = random() % 1024;
  if (drawn < 1) return OpClass::kExclusive;
  if (drawn < 200) return OpClass::kKernel;
  if (drawn < 400) return OpClass::kGraph;
  if (drawn < 500) return OpClass::kKernel | OpClass::kGraph;
  return OpClass::kRaw;
}

void submit_many(Executor& executor, Accounts& accounts, std::uint64_t admissions, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<Future<void>> window;
  window.reserve(kWindow);
  const auto fetch = [&] {
    for (auto& future : window) {
      if (future.get().outcome() != Outcome::kOk) ++accounts.violations;
    }
    window.clear();
  };
  for (std::uint64_t i = 0; i < admissions; ++i) {
    const OpClassSet classes = draw_class(random);
    const TaskOptions options{.op_class = classes};
    const auto task = [&accounts, classes] { look_around(accounts, classes); };
    if (random() % 16 == 0) {
      if (executor.run(options, task).outcome() != Outcome::kOk) ++accounts.violations;
    } else {
      window.push_back(executor.submit(options, task));
      if (window.size() == kWindow) fetch();
    }
  }
  fetch();
}

void move_limits(const std::stop_token& stop, Executor& executor,
                 std::atomic<std::uint64_t>& moves) {
  std::minstd_rand random(7);
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    for (const OpClass c : kAllOpClasses) {
      executor.set_limit(c, 1 + random() % kCeilings[index_of(c)]);
    }
    moves.fetch_add(1);
    // A pace, not a synchronisation: nothing waits for it.
    stopped.wait_for(lock, stop, std::chrono::milliseconds(1), [] { return false; });
  }
}

TEST(AdmissionStress, SlowCeilingsHoldThroughTenMillionAdmissionsUnderMovingLimits) {
  Config config = testing::inline_config(2);
  config.executor.streams = 64;
  for (const OpClass c : kAllOpClasses) {
    config.gates[index_of(c)] = {.limit = kCeilings[index_of(c)],
                                 .ceiling = kCeilings[index_of(c)]};
  }
  Executor executor({.config = config});
  Accounts accounts;
  std::atomic<std::uint64_t> moves{0};
  const std::uint64_t tasks_each = admissions() / kThreads;
  const auto start = Clock::now();
  {
    std::jthread mover([&](const std::stop_token& stop) { move_limits(stop, executor, moves); });
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        submit_many(executor, accounts, tasks_each, static_cast<unsigned>(t + 1));
      });
    }
  }
  const std::chrono::duration<double> took = Clock::now() - start;

  EXPECT_EQ(accounts.violations, 0U);
  EXPECT_EQ(accounts.ran, tasks_each * kThreads);
  for (const OpClass c : kAllOpClasses) {
    EXPECT_LE(accounts.inside[index_of(c)].peak(), kCeilings[index_of(c)]) << to_string(c);
  }
  EXPECT_EQ(testing::count_of(executor.snapshot(), Outcome::kOk), accounts.ran);
  testing::drain_all(executor);
  std::cout << accounts.ran << " admissions in " << took.count() << " s under " << moves
            << " changes of the limits\n";
}

}  // namespace
}  // namespace streamgate

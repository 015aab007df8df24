// SPDX-License-Identifier: Apache-2.0
//
// What the gate promises: who may run beside whom and how many, in one thread and in many.
#include <streamgate/executor/gate.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::kAllOpClasses;
using policies::kLanes;
using policies::kOpClasses;
using policies::OpClass;
using policies::OpClassSet;
using testing::Census;
using testing::Countdown;

using Refusal = Gate::Refusal;

constexpr OpClassSet kComposite = OpClass::kKernel | OpClass::kGraph;

TEST(Gate, StartsIdleAndOpenWithItsLimitsAtTheirCeilings) {
  const Gate gate({.ceilings = {8, 3, 2, 1}});
  EXPECT_TRUE(gate.idle());
  EXPECT_FALSE(gate.closed());
  const std::array<std::size_t, kOpClasses> expected = {8, 3, 2, 1};
  for (const OpClass c : kAllOpClasses) {
    EXPECT_EQ(gate.limit(c), expected[index_of(c)]);
    EXPECT_EQ(gate.ceiling(c), expected[index_of(c)]);
    EXPECT_EQ(gate.in_use(c), 0U);
  }
}

TEST(Gate, CeilingOutOfRangeIsRefusedWithClassValueAndRange) {
  for (const OpClass c : {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph}) {
    for (const std::size_t ceiling : {std::size_t{0}, Gate::kMaxCeiling + 1, ~std::size_t{0}}) {
      GateOptions options;
      options.ceilings[index_of(c)] = ceiling;
      try {
        const Gate gate(options);
        ADD_FAILURE() << "accepted " << ceiling;
      } catch (const std::invalid_argument& error) {
        const std::string text = error.what();
        EXPECT_NE(text.find(to_string(c)), std::string::npos) << text;
        EXPECT_NE(text.find(std::to_string(ceiling)), std::string::npos) << text;
        EXPECT_NE(text.find("1..1023"), std::string::npos) << text;
      }
    }
  }
}

TEST(Gate, ExclusiveHasACeilingOfOneWhateverIsGiven) {
  for (const std::size_t given : {0U, 1U, 7U, 5000U}) {
    const Gate gate({.ceilings = {1, 1, 1, given}});
    EXPECT_EQ(gate.ceiling(OpClass::kExclusive), 1U);
  }
}

TEST(Gate, AdmitsUpToTheLimitAndNoFurther) {
  for (const OpClass c : {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph}) {
    for (const std::size_t ceiling : {std::size_t{1}, std::size_t{5}, Gate::kMaxCeiling}) {
      Gate gate({.ceilings = {ceiling, ceiling, ceiling, 1}});
      for (std::size_t i = 0; i < ceiling; ++i) ASSERT_TRUE(gate.try_acquire(c));
      EXPECT_EQ(gate.in_use(c), ceiling);
      EXPECT_EQ(gate.acquire(c), Refusal::kFull);
      EXPECT_EQ(gate.in_use(c), ceiling) << "a refusal took something";
      gate.release(c);
      EXPECT_TRUE(gate.try_acquire(c));
      EXPECT_FALSE(gate.try_acquire(c));
    }
  }
}

TEST(Gate, FullCountsOfOneClassDoNotReachIntoAnother) {
  Gate gate({.ceilings = {Gate::kMaxCeiling, Gate::kMaxCeiling, Gate::kMaxCeiling, 1}});
  for (std::size_t i = 0; i < Gate::kMaxCeiling; ++i) {
    for (const OpClass c : {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph}) {
      ASSERT_TRUE(gate.try_acquire(c));
    }
  }
  EXPECT_EQ(gate.in_use(OpClass::kRaw), Gate::kMaxCeiling);
  EXPECT_EQ(gate.in_use(OpClass::kKernel), Gate::kMaxCeiling);
  EXPECT_EQ(gate.in_use(OpClass::kGraph), Gate::kMaxCeiling);
  EXPECT_EQ(gate.in_use(OpClass::kExclusive), 0U);
  EXPECT_FALSE(gate.closed());
}

TEST(Gate, LimitIsClampedToOneAndTheCeiling) {
  Gate gate({.ceilings = {8, 1, 1, 1}});
  EXPECT_EQ(gate.set_limit(OpClass::kRaw, 0), 1U);
  EXPECT_EQ(gate.limit(OpClass::kRaw), 1U);
  EXPECT_EQ(gate.set_limit(OpClass::kRaw, 5), 5U);
  EXPECT_EQ(gate.set_limit(OpClass::kRaw, 9), 8U);
  EXPECT_EQ(gate.set_limit(OpClass::kRaw, ~std::size_t{0}), 8U);
  EXPECT_EQ(gate.limit(OpClass::kRaw), 8U);
  EXPECT_EQ(gate.set_limit(OpClass::kExclusive, 5), 1U);
}

TEST(Gate, LoweredLimitAdmitsNothingUntilEnoughHaveLeft) {
  Gate gate({.ceilings = {4, 1, 1, 1}});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(gate.try_acquire(OpClass::kRaw));
  gate.set_limit(OpClass::kRaw, 2);
  EXPECT_EQ(gate.in_use(OpClass::kRaw), 4U) << "running ones drain, nobody is thrown out";
  gate.release(OpClass::kRaw);
  gate.release(OpClass::kRaw);
  EXPECT_EQ(gate.acquire(OpClass::kRaw), Refusal::kFull);
  gate.release(OpClass::kRaw);
  EXPECT_TRUE(gate.try_acquire(OpClass::kRaw));
  EXPECT_FALSE(gate.try_acquire(OpClass::kRaw));
}

TEST(Gate, PermitMayPassOnUnlessItsClassIsAboveItsLimit) {
  Gate gate({.ceilings = {4, 4, 4, 1}});
  ASSERT_TRUE(gate.try_acquire(kComposite));
  ASSERT_TRUE(gate.try_acquire(kComposite));
  EXPECT_TRUE(gate.may_keep(kComposite));
  gate.set_limit(OpClass::kGraph, 1);
  EXPECT_FALSE(gate.may_keep(kComposite)) << "one member above its limit is enough";
  EXPECT_TRUE(gate.may_keep(OpClass::kKernel));
  gate.release(kComposite);
  EXPECT_TRUE(gate.may_keep(kComposite)) << "at the limit, not above it";
}

TEST(Gate, CompositeTakesBothPermitsOrNone) {
  Gate gate({.ceilings = {1, 2, 1, 1}});
  ASSERT_TRUE(gate.try_acquire(kComposite));
  EXPECT_EQ(gate.in_use(OpClass::kKernel), 1U);
  EXPECT_EQ(gate.in_use(OpClass::kGraph), 1U);
  EXPECT_EQ(gate.acquire(OpClass::kGraph), Refusal::kFull);
  EXPECT_EQ(gate.acquire(kComposite), Refusal::kFull);
  EXPECT_EQ(gate.in_use(OpClass::kKernel), 1U) << "a refused composite kept its kernel permit";
  EXPECT_TRUE(gate.try_acquire(OpClass::kKernel));
  gate.release(kComposite);
  EXPECT_EQ(gate.in_use(OpClass::kKernel), 1U);
  EXPECT_EQ(gate.in_use(OpClass::kGraph), 0U);
}

TEST(Gate, ExclusiveExcludesEveryClassAndIsExcludedByEvery) {
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const OpClassSet other = OpClassSet::from_lane(lane);
    Gate gate({.ceilings = {8, 8, 8, 1}});
    ASSERT_TRUE(gate.try_acquire(OpClass::kExclusive));
    EXPECT_EQ(gate.acquire(other), Refusal::kExcluded) << to_string(other);
    gate.release(OpClass::kExclusive);
    ASSERT_TRUE(gate.try_acquire(other));
    EXPECT_EQ(gate.acquire(OpClass::kExclusive), Refusal::kExcluded) << to_string(other);
    EXPECT_TRUE(gate.exclude_each_other(other, OpClass::kExclusive));
    EXPECT_TRUE(gate.exclude_each_other(OpClass::kExclusive, other));
    gate.release(other);
    EXPECT_TRUE(gate.idle());
  }
}

TEST(Gate, IncompatibleClassesExcludeEachOtherAndNobodyElse) {
  Gate gate({.ceilings = {8, 8, 8, 1}, .incompatible = {{OpClass::kRaw, OpClass::kGraph}}});
  ASSERT_TRUE(gate.try_acquire(OpClass::kRaw));
  EXPECT_EQ(gate.acquire(OpClass::kGraph), Refusal::kExcluded);
  EXPECT_EQ(gate.acquire(kComposite), Refusal::kExcluded) << "it encodes a graph, too";
  EXPECT_TRUE(gate.try_acquire(OpClass::kRaw));
  EXPECT_TRUE(gate.try_acquire(OpClass::kKernel));
  gate.release(OpClass::kRaw);
  gate.release(OpClass::kRaw);
  ASSERT_TRUE(gate.try_acquire(kComposite));
  EXPECT_EQ(gate.acquire(OpClass::kRaw), Refusal::kExcluded);
  EXPECT_TRUE(gate.try_acquire(OpClass::kGraph));
  EXPECT_TRUE(gate.exclude_each_other(OpClass::kRaw, kComposite));
  EXPECT_TRUE(gate.exclude_each_other(OpClass::kGraph, OpClass::kRaw));
  EXPECT_FALSE(gate.exclude_each_other(OpClass::kKernel, OpClass::kGraph));
  EXPECT_FALSE(gate.exclude_each_other(OpClass::kRaw, OpClass::kRaw));
}

// A composite does both, and a neighbour of either kind would run beside the other half.
TEST(Gate, CompositeOfAnIncompatiblePairRunsBesideNeitherOfThem) {
  for (const OpClassSet neighbour :
       {OpClassSet(OpClass::kKernel), OpClassSet(OpClass::kGraph), kComposite}) {
    Gate gate({.ceilings = {8, 8, 8, 1}, .incompatible = {{OpClass::kKernel, OpClass::kGraph}}});
    ASSERT_TRUE(gate.try_acquire(kComposite));
    EXPECT_EQ(gate.acquire(neighbour), Refusal::kExcluded) << to_string(neighbour);
    EXPECT_TRUE(gate.try_acquire(OpClass::kRaw));
    gate.release(kComposite);
    ASSERT_TRUE(gate.try_acquire(neighbour));
    EXPECT_EQ(gate.acquire(kComposite), Refusal::kExcluded) << to_string(neighbour);
    EXPECT_TRUE(gate.exclude_each_other(kComposite, neighbour)) << to_string(neighbour);
  }
}

TEST(Gate, AClassIsNotIncompatibleWithItself) {
  Gate gate({.ceilings = {2, 2, 2, 1}, .incompatible = {{OpClass::kGraph, OpClass::kGraph}}});
  EXPECT_TRUE(gate.try_acquire(OpClass::kGraph));
  EXPECT_TRUE(gate.try_acquire(OpClass::kGraph)) << "that is what a ceiling of 1 says";
}

TEST(Gate, ClosedAdmitsOnlyWhatWasQueuedBefore) {
  Gate gate({.ceilings = {2, 1, 1, 1}});
  gate.close();
  EXPECT_TRUE(gate.closed());
  EXPECT_TRUE(gate.idle()) << "closed is no permit";
  EXPECT_EQ(gate.acquire(OpClass::kRaw), Refusal::kFull);
  EXPECT_EQ(gate.would_refuse(OpClass::kRaw), Refusal::kNone);
  EXPECT_EQ(gate.acquire_closed(OpClass::kRaw), Refusal::kNone);
  EXPECT_EQ(gate.acquire_closed(OpClass::kRaw), Refusal::kNone);
  EXPECT_EQ(gate.acquire_closed(OpClass::kRaw), Refusal::kFull) << "closed has limits, too";
  EXPECT_EQ(gate.acquire_closed(OpClass::kExclusive), Refusal::kExcluded);
}

/// The gate's rules once more, as slowly and plainly as can be.
struct Model {
  std::vector<OpClassSet> running{};
  std::array<std::size_t, kOpClasses> limits{};
  std::vector<std::pair<OpClass, OpClass>> incompatible{};

  std::size_t in_use(OpClass c) const {
    std::size_t count = 0;
    for (const OpClassSet r : running) count += r.contains(c) ? 1 : 0;
    return count;
  }
  bool clash(OpClassSet a, OpClassSet b) const {
    if (a.contains(OpClass::kExclusive) || b.contains(OpClass::kExclusive)) return true;
    for (const auto& [x, y] : incompatible) {
      if (x == y) continue;
      if ((a.contains(x) && b.contains(y)) || (a.contains(y) && b.contains(x))) return true;
    }
    return false;
  }
  Refusal judge(OpClassSet wanted) const {
    for (const OpClassSet r : running) {
      if (clash(r, wanted)) return Refusal::kExcluded;
    }
    for (const OpClass c : kAllOpClasses) {
      if (wanted.contains(c) && in_use(c) >= limits[index_of(c)]) return Refusal::kFull;
    }
    return Refusal::kNone;
  }
};

TEST(Gate, AgreesWithItsRulesOnRandomHistories) {
  constexpr std::uint32_t kSeed = 20240611;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const std::vector<std::vector<std::pair<OpClass, OpClass>>> pairs = {
      {},
      {{OpClass::kGraph, OpClass::kRaw}},
      {{OpClass::kKernel, OpClass::kGraph}},
      {{OpClass::kRaw, OpClass::kKernel}, {OpClass::kGraph, OpClass::kKernel}},
      {{OpClass::kGraph, OpClass::kGraph}}};
  for (const auto& incompatible : pairs) {
    GateOptions options{.ceilings = {4, 3, 2, 1}, .incompatible = incompatible};
    Gate gate(options);
    Model model{.limits = {4, 3, 2, 1}, .incompatible = incompatible};
    for (int step = 0; step < 20'000; ++step) {
      const unsigned what = random() % 8;
      if (what < 4) {
        const OpClassSet wanted = OpClassSet::from_lane(random() % kLanes);
        const Refusal expected = model.judge(wanted);
        ASSERT_EQ(gate.would_refuse(wanted), expected) << step;
        ASSERT_EQ(gate.acquire(wanted), expected) << step << ' ' << to_string(wanted);
        if (expected == Refusal::kNone) model.running.push_back(wanted);
      } else if (what < 7) {
        if (model.running.empty()) continue;
        const std::size_t which = random() % model.running.size();
        gate.release(model.running[which]);
        model.running.erase(model.running.begin() + static_cast<std::ptrdiff_t>(which));
      } else {
        const OpClass c = kAllOpClasses[random() % kOpClasses];
        model.limits[index_of(c)] = gate.set_limit(c, random() % 6);
      }
      for (const OpClass c : kAllOpClasses) ASSERT_EQ(gate.in_use(c), model.in_use(c)) << step;
      ASSERT_EQ(gate.idle(), model.running.empty());
    }
  }
}

/// Threads that try to acquire, each in an order of classes of its own, while limits move all the
/// time. `inside` is called with a permit held. Returns the number of changes of a limit.
template <typename Inside>
int race(Gate& gate, const std::vector<OpClassSet>& sets, Inside inside) {
  constexpr std::size_t kThreads = 4;
  constexpr int kAttempts = 20'000;
  std::atomic<std::uint64_t> admitted{0};
  std::atomic<std::size_t> at_work{kThreads};
  Countdown start(kThreads + 1);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<std::uint32_t>(t + 1));
      EXPECT_TRUE(start.arrive_and_wait());
      for (int i = 0; i < kAttempts; ++i) {
        const OpClassSet set = sets[random() % sets.size()];
        if (!gate.try_acquire(set)) continue;
        admitted.fetch_add(1, std::memory_order_relaxed);
        inside(set);
        // Now and then a permit is held while others run.
        if (i % 64 == 0) std::this_thread::yield();
        gate.release(set);
      }
      at_work.fetch_sub(1);
    });
  }
  EXPECT_TRUE(start.arrive_and_wait());
  std::mt19937 random(99);
  int changes = 0;
  for (; at_work.load() != 0; ++changes) {
    gate.set_limit(kAllOpClasses[random() % kOpClasses], random() % 12);
  }
  threads.clear();
  EXPECT_GT(admitted.load(), 0U);
  EXPECT_TRUE(gate.idle());
  return changes;
}

TEST(Gate, CeilingIsNeverPassedWhileThreadsRaceAndLimitsMove) {
  const std::array<std::size_t, kOpClasses> ceilings = {6, 3, 2, 1};
  Gate gate({.ceilings = ceilings});
  std::array<Census, kOpClasses> census;
  const std::vector<OpClassSet> sets = {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph,
                                        kComposite, OpClass::kExclusive};
  const int changes = race(gate, sets, [&](OpClassSet set) {
    for (const OpClass c : kAllOpClasses) {
      if (!set.contains(c)) continue;
      EXPECT_LE(census[index_of(c)].enter(), ceilings[index_of(c)]);
    }
    // A reader in the middle sees nothing beyond the ceilings either.
    for (const OpClass c : kAllOpClasses) EXPECT_LE(gate.in_use(c), ceilings[index_of(c)]);
    for (const OpClass c : kAllOpClasses) {
      if (set.contains(c)) census[index_of(c)].leave();
    }
  });
  for (const OpClass c : kAllOpClasses) EXPECT_GE(census[index_of(c)].peak(), 1U) << to_string(c);
  EXPECT_GT(changes, 1'000);
}

TEST(Gate, ExcludedClassesNeverOverlapWhileThreadsRace) {
  Gate gate(
      {.ceilings = {6, 4, 4, 1},
       .incompatible = {{OpClass::kRaw, OpClass::kGraph}, {OpClass::kKernel, OpClass::kGraph}}});
  std::array<Census, kOpClasses> census;
  const std::vector<OpClassSet> sets = {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph,
                                        OpClass::kExclusive};
  race(gate, sets, [&](OpClassSet set) {
    for (const OpClass c : kAllOpClasses) {
      if (set.contains(c)) census[index_of(c)].enter();
    }
    if (set.contains(OpClass::kGraph)) {
      EXPECT_EQ(census[index_of(OpClass::kRaw)].inside(), 0U);
      EXPECT_EQ(census[index_of(OpClass::kKernel)].inside(), 0U);
    } else {
      EXPECT_EQ(census[index_of(OpClass::kGraph)].inside(), 0U);
    }
    const bool alone = set.contains(OpClass::kExclusive);
    EXPECT_EQ(census[index_of(OpClass::kExclusive)].inside(), alone ? 1U : 0U);
    for (const OpClass c : kAllOpClasses) {
      if (set.contains(c)) census[index_of(c)].leave();
    }
  });
}

TEST(Gate, NothingIsAdmittedAboveALimitOnceSetLimitHasReturned) {
  constexpr std::size_t kThreads = 3;
  constexpr int kChanges = 50'000;
  Gate gate({.ceilings = {8, 1, 1, 1}});
  Census census;
  // Even: the limit is somewhere in between; odd: a set_limit to 1 has returned.
  std::atomic<std::uint64_t> era{0};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> judged{0};
  Countdown start(kThreads + 1);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      EXPECT_TRUE(start.arrive_and_wait());
      for (std::uint64_t i = 0; !stop.load(); ++i) {
        const std::uint64_t before = era.load();
        if (!gate.try_acquire(OpClass::kRaw)) continue;
        const std::size_t inside = census.enter();
        // The whole admission lay in a time of limit 1, so it found nobody inside.
        if (before % 2 == 1 && era.load() == before) {
          EXPECT_EQ(inside, 1U);
          judged.fetch_add(1, std::memory_order_relaxed);
        }
        // Now and then a permit is held while others run.
        if (i % 64 == 0) std::this_thread::yield();
        census.leave();
        gate.release(OpClass::kRaw);
      }
    });
  }
  EXPECT_TRUE(start.arrive_and_wait());
  std::mt19937 random(7);
  const auto linger = [&] {
    for (unsigned i = random() % 64; i > 0; --i)
      std::atomic_signal_fence(std::memory_order_seq_cst);
  };
  for (int change = 0; change < kChanges; ++change) {
    gate.set_limit(OpClass::kRaw, 8);
    linger();
    gate.set_limit(OpClass::kRaw, 1);
    era.fetch_add(1);
    linger();
    era.fetch_add(1);
  }
  // However the threads were scheduled: the last time of limit 1 is long enough to be seen.
  gate.set_limit(OpClass::kRaw, 1);
  era.fetch_add(1);
  EXPECT_TRUE(testing::eventually([&] { return judged.load() > 100; }));
  stop = true;
}

#ifndef NDEBUG
TEST(GateDeathTest, MorePermitsThanWereGivenCannotComeBack) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Gate gate({.ceilings = {8, 3, 2, 1}});
  ASSERT_EQ(gate.acquire(OpClass::kRaw), Gate::Refusal::kNone);
  gate.release(OpClass::kRaw);
  EXPECT_DEATH(gate.release(OpClass::kRaw), "count\\(before, c\\) > 0");
}
#endif

}  // namespace
}  // namespace streamgate::executor

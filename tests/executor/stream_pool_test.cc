// SPDX-License-Identifier: Apache-2.0
//
// Stream slots: one owner each, none lost, whoever comes and goes.
#include <streamgate/executor/stream_pool.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using testing::Countdown;

constexpr auto kConstructor = StreamPool::Caller::kConstructor;
constexpr auto kOther = StreamPool::Caller::kOther;

TEST(StreamPool, NumberOfSlotsOutOfRangeIsRefusedWithTheRange) {
  for (const std::size_t slots : {std::size_t{0}, std::size_t{65}, ~std::size_t{0}}) {
    try {
      const StreamPool pool(slots);
      ADD_FAILURE() << "accepted " << slots;
    } catch (const std::invalid_argument& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(std::to_string(slots)), std::string::npos) << text;
      EXPECT_NE(text.find("1..64"), std::string::npos) << text;
    }
  }
}

TEST(StreamPool, LeasesEverySlotOnceThenNothingAndCountsThat) {
  for (const std::size_t slots : {2U, 3U, 32U, 63U, 64U}) {
    StreamPool pool(slots);
    EXPECT_EQ(pool.slots(), slots);
    std::set<StreamIndex> leased;
    for (std::size_t i = 1; i < slots; ++i) {
      const std::optional<StreamIndex> slot = pool.lease(kOther);
      ASSERT_TRUE(slot);
      EXPECT_EQ(*slot, i) << "the lowest free one, so that few stay warm";
      EXPECT_TRUE(leased.insert(*slot).second);
    }
    EXPECT_EQ(pool.leased(), slots - 1);
    EXPECT_EQ(pool.exhausted(), 0U);
    EXPECT_FALSE(pool.lease(kOther)) << "slot 0 is the constructing thread's";
    EXPECT_FALSE(pool.lease(kOther));
    EXPECT_EQ(pool.exhausted(), 2U);
    EXPECT_EQ(pool.lease(kConstructor), std::optional<StreamIndex>(0));
    EXPECT_FALSE(pool.lease(kConstructor));
    EXPECT_EQ(pool.exhausted(), 3U);
    EXPECT_EQ(pool.leased(), slots);
    pool.give_back(slots - 1);
    EXPECT_EQ(pool.lease(kConstructor), std::optional<StreamIndex>(slots - 1))
        << "the constructing thread takes another when its own is out";
  }
}

TEST(StreamPool, ConstructingThreadGetsSlotZeroWhileItIsFree) {
  StreamPool pool(4);
  EXPECT_EQ(pool.lease(kOther), std::optional<StreamIndex>(1));
  EXPECT_EQ(pool.lease(kConstructor), std::optional<StreamIndex>(0));
  EXPECT_EQ(pool.lease(kConstructor), std::optional<StreamIndex>(2));
  pool.give_back(0);
  EXPECT_EQ(pool.lease(kOther), std::optional<StreamIndex>(3));
  EXPECT_EQ(pool.lease(kConstructor), std::optional<StreamIndex>(0));
}

TEST(StreamPool, SingleSlotIsSharedByEverybodyInTurn) {
  StreamPool pool(1);
  EXPECT_EQ(pool.lease(kOther), std::optional<StreamIndex>(0));
  EXPECT_FALSE(pool.lease(kConstructor));
  pool.give_back(0);
  EXPECT_EQ(pool.lease(kConstructor), std::optional<StreamIndex>(0));
  EXPECT_FALSE(pool.lease(kOther));
  EXPECT_EQ(pool.exhausted(), 2U);
}

TEST(StreamPool, SlotNeedsOpeningUntilItIsMarked) {
  StreamPool pool(3);
  const StreamIndex slot = pool.lease(kOther).value();
  EXPECT_TRUE(pool.needs_opening(slot));
  EXPECT_TRUE(pool.needs_opening(slot)) << "an opening that failed is tried again";
  pool.mark_opened(slot);
  EXPECT_FALSE(pool.needs_opening(slot));
  EXPECT_EQ(pool.opened(), 1U);
  pool.give_back(slot);
  EXPECT_EQ(pool.lease(kOther), std::optional<StreamIndex>(slot));
  EXPECT_FALSE(pool.needs_opening(slot)) << "opened once for good";
  EXPECT_TRUE(pool.needs_opening(0));
  EXPECT_TRUE(pool.needs_opening(2));
}

TEST(StreamPool, SlotHasOneOwnerUnderAnyRaceAndSeesWhatTheLastOneDid) {
  for (const std::size_t slots : {1U, 4U, 64U}) {
    StreamPool pool(slots);
    std::array<std::atomic<int>, StreamPool::kMaxSlots> owners{};
    // Plain, so that a lease that orders nothing is a race for the sanitizer.
    std::array<std::uint64_t, StreamPool::kMaxSlots> uses{};
    std::atomic<std::uint64_t> leases{0};
    constexpr std::size_t kThreads = 8;
    Countdown start(kThreads);
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        ASSERT_TRUE(start.arrive_and_wait());
        for (int i = 0; i < 5'000; ++i) {
          const std::optional<StreamIndex> slot = pool.lease(t == 0 ? kConstructor : kOther);
          if (!slot) continue;
          ASSERT_EQ(owners[*slot].fetch_add(1), 0);
          ASSERT_TRUE(t == 0 || *slot != 0 || slots == 1);
          ++uses[*slot];
          leases.fetch_add(1);
          owners[*slot].fetch_sub(1);
          pool.give_back(*slot);
        }
      });
    }
    threads.clear();
    EXPECT_EQ(pool.leased(), 0U);
    std::uint64_t sum = 0;
    for (const std::uint64_t count : uses) sum += count;
    EXPECT_EQ(sum, leases.load());
    EXPECT_EQ(leases.load() + pool.exhausted(), kThreads * 5'000U);
  }
}

TEST(StreamPool, ThousandsOfShortThreadsLeakNothing) {
  StreamPool pool(8);
  std::atomic<int> served{0};
  constexpr int kRounds = 250;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        if (const std::optional<StreamIndex> slot = pool.lease(kOther)) {
          served.fetch_add(1);
          pool.give_back(*slot);
        }
      });
    }
  }
  EXPECT_EQ(pool.leased(), 0U);
  EXPECT_EQ(static_cast<std::uint64_t>(served.load()) + pool.exhausted(), 8U * kRounds);
  for (std::size_t i = 1; i < 8; ++i) EXPECT_TRUE(pool.lease(kOther));
}

}  // namespace
}  // namespace streamgate::executor

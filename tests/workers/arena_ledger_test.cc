// SPDX-License-Identifier: Apache-2.0
//
// The ledger against a plain account of the same, and against a borrower that lies.
#include <streamgate/executor/workers/arena_ledger.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

namespace streamgate::executor {
namespace {

TEST(ArenaLedger, RangesNeverOverlapAndAllOfTheArenaComesBack) {
  constexpr std::size_t kBytes = 64 * 200;
  ArenaLedger ledger(kBytes, 1'000);
  struct Held {
    std::uint64_t offset;
    std::size_t bytes;
    bool lent;
  };
  std::vector<Held> held;
  std::mt19937 random(7);
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const std::size_t bytes = random() % 2'000;
      const auto offset = ledger.allocate(bytes);
      if (!offset) continue;
      ASSERT_EQ(*offset % ArenaLedger::kAlignment, 0U);
      ASSERT_LE(*offset + bytes, kBytes);
      for (const Held& other : held) {
        ASSERT_TRUE(*offset >= other.offset + other.bytes || *offset + bytes <= other.offset)
            << "step " << step;
      }
      const bool lent = random() % 2 == 0 && ledger.lend(*offset);
      if (lent) ledger.drop(*offset);
      held.push_back({*offset, bytes == 0 ? 1 : bytes, lent});
    } else if (!held.empty()) {
      const std::size_t chosen = random() % held.size();
      if (held[chosen].lent) {
        ASSERT_TRUE(ledger.returned(held[chosen].offset));
      } else {
        ledger.drop(held[chosen].offset);
      }
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(chosen));
    }
  }
  for (const Held& last : held) {
    if (last.lent) {
      ASSERT_TRUE(ledger.returned(last.offset));
    } else {
      ledger.drop(last.offset);
    }
  }
  EXPECT_EQ(ledger.used_bytes(), 0U);
  EXPECT_EQ(ledger.lent(), 0U);
  EXPECT_EQ(ledger.allocate(kBytes), 0U) << "the holes did not grow together again";
}

TEST(ArenaLedger, ARangeIsFreeOnlyWhenNobodyHoldsIt) {
  ArenaLedger ledger(64, 10);
  const auto offset = ledger.allocate(64);
  ASSERT_TRUE(offset);
  ASSERT_TRUE(ledger.lend(*offset));
  ASSERT_TRUE(ledger.lend(*offset));
  ledger.drop(*offset);
  EXPECT_EQ(ledger.allocate(1), std::nullopt);
  EXPECT_TRUE(ledger.returned(*offset));
  EXPECT_EQ(ledger.allocate(1), std::nullopt) << "one loan is still out";
  EXPECT_TRUE(ledger.returned(*offset));
  EXPECT_TRUE(ledger.allocate(1));
}

TEST(ArenaLedger, AReturnOfWhatWasNotLentIsRefused) {
  ArenaLedger ledger(1'024, 10);
  const auto offset = ledger.allocate(128);
  ASSERT_TRUE(offset);
  EXPECT_FALSE(ledger.returned(*offset)) << "never lent";
  ASSERT_TRUE(ledger.lend(*offset));
  EXPECT_FALSE(ledger.returned(*offset + 64)) << "the middle of a range";
  EXPECT_FALSE(ledger.returned(1'000'000));
  EXPECT_TRUE(ledger.returned(*offset));
  EXPECT_FALSE(ledger.returned(*offset)) << "twice";
}

TEST(ArenaLedger, LendsNoMoreThanTheRingOfReturnsHolds) {
  ArenaLedger ledger(1'024, 2);
  const auto offset = ledger.allocate(1);
  ASSERT_TRUE(offset);
  EXPECT_TRUE(ledger.lend(*offset));
  EXPECT_TRUE(ledger.lend(*offset));
  EXPECT_FALSE(ledger.lend(*offset));
  EXPECT_TRUE(ledger.returned(*offset));
  EXPECT_TRUE(ledger.lend(*offset));
}

TEST(ArenaLedger, WhatCannotFitIsRefused) {
  ArenaLedger ledger(1'024, 2);
  EXPECT_EQ(ledger.allocate(1'025), std::nullopt);
  EXPECT_EQ(ledger.allocate(SIZE_MAX), std::nullopt);
  EXPECT_EQ(ledger.allocate(SIZE_MAX - 32), std::nullopt);
  EXPECT_TRUE(ledger.allocate(1'024));
}

}  // namespace
}  // namespace streamgate::executor

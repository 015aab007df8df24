// SPDX-License-Identifier: Apache-2.0
//
// The ring and its bells in one process: order, room, wrapping counts, and counts that cannot be.
#include <streamgate/executor/workers/ring.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using Steady = std::chrono::steady_clock;
using testing::kGuard;
using SmallRing = SharedRing<std::uint64_t, 4>;
using Producer = RingProducer<std::uint64_t, 4>;
using Consumer = RingConsumer<std::uint64_t, 4>;

TEST(Ring, GivesValuesOnceAndInOrderAlsoPastItsEnd) {
  SmallRing ring{};
  Producer producer(ring);
  Consumer consumer(ring);
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    ASSERT_EQ(producer.push(2 * i), RingStatus::kDone);
    ASSERT_EQ(producer.push(2 * i + 1), RingStatus::kDone);
    ASSERT_EQ(consumer.pop().value, 2 * i);
    ASSERT_EQ(consumer.pop().value, 2 * i + 1);
    ASSERT_EQ(consumer.pop().status, RingStatus::kNot);
  }
}

TEST(Ring, TakesNoMoreThanItHasSlotsFor) {
  SmallRing ring{};
  Producer producer(ring);
  Consumer consumer(ring);
  for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(producer.push(i), RingStatus::kDone);
  EXPECT_EQ(producer.push(4), RingStatus::kNot);
  EXPECT_EQ(consumer.pop().value, 0U);
  EXPECT_EQ(producer.push(4), RingStatus::kDone);
  for (std::uint64_t i = 1; i <= 4; ++i) EXPECT_EQ(consumer.pop().value, i);
}

TEST(Ring, ACountThatCannotBeIsCorruptOnEitherEnd) {
  for (const std::uint32_t wrong : {5U, 1'000U, 0x8000'0000U, 0xffff'ffffU}) {
    SmallRing ring{};
    Producer producer(ring);
    Consumer consumer(ring);
    ring.written.store(wrong);
    EXPECT_EQ(consumer.pop().status, RingStatus::kCorrupt) << wrong;
    ring.written.store(0);
    EXPECT_EQ(consumer.pop().status, RingStatus::kNot) << "the consumer kept its own count";
    ring.taken.store(wrong);
    EXPECT_EQ(producer.push(1), RingStatus::kCorrupt) << wrong;
  }
}

TEST(Ring, ADoorbellThatNobodyRingsWaitsForTheDeadline) {
  Doorbell bell;
  const auto deadline = Steady::now() + std::chrono::milliseconds(20);
  EXPECT_FALSE(bell.wait(deadline, [] { return false; }));
  EXPECT_GE(Steady::now(), deadline);
}

TEST(Ring, NoRingIsLostBesideDeadlines) {
  auto there = std::make_unique<SmallRing>();
  auto back = std::make_unique<SmallRing>();
  constexpr std::uint64_t kRounds = 20'000;
  const auto pop_until_done = [](Consumer& consumer, Doorbell& bell, std::mt19937& random) {
    const auto guard = Steady::now() + kGuard;
    for (;;) {
      Popped<std::uint64_t> popped;
      // Some deadlines fall into the spin, some into the sleep, some never come.
      const auto deadline =
          random() % 4 == 0 ? guard : Steady::now() + std::chrono::nanoseconds(random() % 60'000);
      if (bell.wait(deadline, [&] {
            popped = consumer.pop();
            return popped.status != RingStatus::kNot;
          })) {
        return popped.value;
      }
      if (Steady::now() >= guard) return ~std::uint64_t{0};
    }
  };
  std::jthread echo([&] {
    Consumer consumer(*there);
    Producer producer(*back);
    std::mt19937 random(1);
    for (std::uint64_t i = 0; i < kRounds; ++i) {
      if (producer.push(pop_until_done(consumer, there->data, random)) != RingStatus::kDone) return;
    }
  });
  Producer producer(*there);
  Consumer consumer(*back);
  std::mt19937 random(2);
  for (std::uint64_t i = 0; i < kRounds; ++i) {
    ASSERT_EQ(producer.push(i), RingStatus::kDone);
    ASSERT_EQ(pop_until_done(consumer, back->data, random), i);
  }
}

}  // namespace
}  // namespace streamgate::executor

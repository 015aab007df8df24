// SPDX-License-Identifier: Apache-2.0
//
// Both sides of a channel in one process: what is sent arrives, blocks come back, waits end.
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/internal/descriptor.h>
#include <streamgate/executor/workers/shared_memory.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "channel_pair.h"

namespace streamgate::executor {
namespace {

using testing::ChannelPair;
using testing::guard;
using testing::soon;

TEST(SharedMemory, ItsSizeIsSealedAndItsPagesAreReserved) {
  const SharedMemory memory = SharedMemory::create(1 << 20);
  EXPECT_NE(ftruncate(memory.descriptor(), 4'096), 0) << "a shrunk file is SIGBUS for the other";
  EXPECT_NE(ftruncate(memory.descriptor(), 1 << 21), 0);
  EXPECT_NE(fcntl(memory.descriptor(), F_ADD_SEALS, F_SEAL_WRITE), 0) << "no more seals";
  struct stat about {};
  ASSERT_EQ(fstat(memory.descriptor(), &about), 0);
  EXPECT_GE(about.st_blocks * 512, 1 << 20) << "pages that are not there can be missing later";
  EXPECT_EQ(fcntl(memory.descriptor(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(SharedMemory, AnythingElseThanSealedMemoryIsRefused) {
  EXPECT_THROW((void)SharedMemory::adopt(Descriptor(open("/dev/null", O_RDWR | O_CLOEXEC))),
               std::system_error);
  EXPECT_THROW((void)SharedMemory::adopt(Descriptor(-1)), std::system_error);
  Descriptor unsealed(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(unsealed.get(), 1 << 20), 0);
  EXPECT_THROW((void)SharedMemory::adopt(std::move(unsealed)), std::system_error);
}

TEST(SharedMemory, MoreThanTheMachineHasIsAnErrorAndNotASignal) {
  EXPECT_THROW((void)SharedMemory::create(std::size_t{1} << 50), std::system_error);
}

TEST(Channel, CarriesMessagesBothWaysInOrder) {
  ChannelPair pair;
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    ASSERT_EQ(pair.host.send({.call = i, .kind = 7, .argument = 3 * i}, guard()),
              ChannelStatus::kDone);
    const Received there = pair.worker.receive(guard());
    ASSERT_EQ(there.status, ChannelStatus::kDone);
    ASSERT_EQ(there.message.call, i);
    ASSERT_EQ(there.message.kind, 7U);
    ASSERT_EQ(there.message.argument, 3 * i);
    ASSERT_EQ(pair.worker.send(there.message, guard()), ChannelStatus::kDone);
    ASSERT_EQ(pair.host.receive(guard()).message.call, i);
  }
}

TEST(Channel, ABlockIsReadWithoutACopyAndIsFreeWhenItWasGivenBack) {
  ChannelPair pair;
  const std::size_t before = pair.host.used_bytes();
  {
    std::optional<Block> block = pair.host.allocate(1'000, guard());
    ASSERT_TRUE(block);
    std::memset(block->data(), 42, block->bytes());
    const auto lent = pair.host.lend(*block);
    ASSERT_TRUE(lent);
    const Block mapped = pair.worker.map(*lent);
    EXPECT_EQ(mapped.bytes(), 1'000U);
    EXPECT_EQ(mapped.data()[999], std::byte{42});
    block->data()[999] = std::byte{43};
    EXPECT_EQ(mapped.data()[999], std::byte{43}) << "it is the same memory";
    block.reset();
    EXPECT_GT(pair.host.used_bytes(), before) << "the other side still reads it";
  }
  EXPECT_EQ(pair.host.used_bytes(), before);
}

TEST(Channel, ABlockOfTheOtherSideOutlivesBothChannels) {
  Block kept;
  {
    ChannelPair pair;
    std::optional<Block> block = pair.worker.allocate(64, guard());
    ASSERT_TRUE(block);
    block->data()[5] = std::byte{9};
    kept = pair.host.map(*pair.worker.lend(*block));
  }
  EXPECT_EQ(kept.data()[5], std::byte{9});
}

TEST(Channel, AWaitForSpaceEndsWhenTheOtherSideGivesABlockBack) {
  ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
  std::optional<Block> all = pair.host.allocate(4'096, guard());
  ASSERT_TRUE(all);
  Block mapped = pair.worker.map(*pair.host.lend(*all));
  all.reset();
  EXPECT_FALSE(pair.host.allocate(64, soon())) << "the arena is full";
  std::jthread giver([&] { mapped = Block(); });
  EXPECT_TRUE(pair.host.allocate(64, guard()));
}

TEST(Channel, AWaitForSpaceEndsWhenABlockOfOursEnds) {
  ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
  std::optional<Block> all = pair.host.allocate(4'096, guard());
  ASSERT_TRUE(all);
  std::jthread dropper([&] { all.reset(); });
  EXPECT_TRUE(pair.host.allocate(4'096, guard()));
}

TEST(Channel, MoreThanTheArenaHoldsIsRefusedAtOnce) {
  ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
  EXPECT_FALSE(pair.host.allocate(4'097, std::chrono::steady_clock::time_point::max()));
}

TEST(Channel, WhatWasLentButNeverSentCanBeTakenBack) {
  ChannelPair pair;
  std::optional<Block> block = pair.host.allocate(64, guard());
  const auto lent = pair.host.lend(*block);
  block.reset();
  EXPECT_GT(pair.host.used_bytes(), 0U);
  pair.host.take_back(*lent);
  EXPECT_EQ(pair.host.used_bytes(), 0U);
}

TEST(Channel, EveryWaitHasADeadline) {
  ChannelPair pair;
  EXPECT_EQ(pair.host.receive(soon()).status, ChannelStatus::kDeadline);
  while (pair.host.send({}, std::chrono::steady_clock::now()) == ChannelStatus::kDone) {
  }
  EXPECT_EQ(pair.host.send({}, soon()), ChannelStatus::kDeadline) << "the ring is full";
  EXPECT_EQ(pair.host.end(), ChannelEnd::kOpen);
  EXPECT_EQ(pair.worker.receive(guard()).status, ChannelStatus::kDone);
  EXPECT_EQ(pair.host.send({}, guard()), ChannelStatus::kDone) << "and has room again";
}

TEST(Channel, AWaitForRoomEndsWhenTheOtherSideTakesAMessage) {
  ChannelPair pair;
  while (pair.host.send({}, std::chrono::steady_clock::now()) == ChannelStatus::kDone) {
  }
  std::jthread taker([&] { EXPECT_EQ(pair.worker.receive(guard()).status, ChannelStatus::kDone); });
  EXPECT_EQ(pair.host.send({}, guard()), ChannelStatus::kDone);
}

/// A wait without a deadline on a thread of its own, and what ended it.
template <typename Wait, typename End>
ChannelStatus status_of(Wait wait, End end) {
  std::optional<ChannelStatus> status;
  testing::Event begun;
  {
    std::jthread waiter([&] {
      begun.set();
      status = wait();
    });
    EXPECT_TRUE(begun.wait());
    end();
  }
  return *status;
}

constexpr auto kNever = std::chrono::steady_clock::time_point::max();

TEST(Channel, ClosingWakesTheOtherSide) {
  for (int i = 0; i < 200; ++i) {
    ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
    EXPECT_EQ(
        status_of([&] { return pair.worker.receive(kNever).status; }, [&] { pair.host.close(); }),
        ChannelStatus::kEnded);
    EXPECT_EQ(pair.worker.end(), ChannelEnd::kPeerClosed);
    EXPECT_EQ(pair.host.end(), ChannelEnd::kClosed);
  }
}

TEST(Channel, ClosingWakesTheSameSide) {
  for (int i = 0; i < 200; ++i) {
    ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
    EXPECT_EQ(status_of([&] { return pair.host.receive(kNever).status; },
                        [&] { pair.host.close(ChannelEnd::kPeerDied); }),
              ChannelStatus::kEnded);
    EXPECT_EQ(pair.host.end(), ChannelEnd::kPeerDied);
    pair.host.close();
    EXPECT_EQ(pair.host.end(), ChannelEnd::kPeerDied) << "the first reason stays";
  }
}

TEST(Channel, ClosingWakesWhoWaitsForSpaceOrForRoom) {
  ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
  const std::optional<Block> all = pair.host.allocate(4'096, guard());
  while (pair.host.send({}, std::chrono::steady_clock::now()) == ChannelStatus::kDone) {
  }
  std::jthread allocator([&] { EXPECT_FALSE(pair.host.allocate(64, kNever)); });
  EXPECT_EQ(status_of([&] { return pair.host.send({}, kNever); }, [&] { pair.worker.close(); }),
            ChannelStatus::kEnded);
  pair.host.close();
}

TEST(Channel, TheOtherSidesClosingEndsAWaitForSpace) {
  ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
  const std::optional<Block> all = pair.worker.allocate(4'096, guard());
  testing::Event ended;
  std::jthread allocator([&] {
    EXPECT_FALSE(pair.worker.allocate(64, kNever));
    ended.set();
  });
  pair.host.close();
  EXPECT_TRUE(ended.wait());
  EXPECT_EQ(pair.worker.end(), ChannelEnd::kPeerClosed);
  pair.worker.close();
}

TEST(Channel, WhatWasSentBeforeTheEndIsStillReceived) {
  for (const ChannelEnd end : {ChannelEnd::kPeerClosed, ChannelEnd::kPeerDied}) {
    ChannelPair pair;
    ASSERT_EQ(pair.worker.send({.call = 1}, guard()), ChannelStatus::kDone);
    ASSERT_EQ(pair.worker.send({.call = 2}, guard()), ChannelStatus::kDone);
    if (end == ChannelEnd::kPeerClosed) {
      pair.worker.close();
    } else {
      pair.host.close(end);
    }
    EXPECT_EQ(pair.host.receive(guard()).message.call, 1U);
    EXPECT_EQ(pair.host.receive(guard()).message.call, 2U);
    EXPECT_EQ(pair.host.receive(guard()).status, ChannelStatus::kEnded);
    EXPECT_EQ(pair.host.end(), end);
    EXPECT_EQ(pair.host.send({}, guard()), ChannelStatus::kEnded);
  }
}

}  // namespace
}  // namespace streamgate::executor

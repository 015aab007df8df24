// SPDX-License-Identifier: Apache-2.0
//
// A host whose worker's memory writes are anything at all: the channel ends with its named error,
// and nothing outside the arena is read.
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/channel_state.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "channel_pair.h"

namespace streamgate::executor {
namespace {

using testing::ChannelPair;
using testing::guard;

constexpr std::size_t kHost = 0;
constexpr std::size_t kWorker = 1;

/// The raw shared memory, as a worker gone wild has it.
struct Vandal {
  explicit Vandal(const Channel& host)
      : memory(SharedMemory::adopt(Descriptor(fcntl(host.descriptor(), F_DUPFD_CLOEXEC, 3)))),
        shared(reinterpret_cast<SharedChannel*>(memory.data())) {}
  SharedMemory memory;
  SharedChannel* shared;
};

TEST(ChannelCorruption, ACountOfMessagesThatCannotBeEndsIt) {
  for (const std::uint32_t wrong : {kMessageSlots + 1, 1U << 31, 0xffff'ffffU}) {
    ChannelPair pair;
    Vandal(pair.host).shared->messages[kWorker].written.store(wrong);
    EXPECT_EQ(pair.host.receive(guard()).status, ChannelStatus::kEnded);
    EXPECT_EQ(pair.host.end(), ChannelEnd::kBadRing);
  }
}

TEST(ChannelCorruption, ACountOfTakenMessagesThatCannotBeEndsIt) {
  ChannelPair pair;
  Vandal(pair.host).shared->messages[kHost].taken.store(12);
  EXPECT_EQ(pair.host.send({}, guard()), ChannelStatus::kEnded);
  EXPECT_EQ(pair.host.end(), ChannelEnd::kBadRing);
}

TEST(ChannelCorruption, ABlockOutsideTheArenaEndsIt) {
  constexpr std::uint64_t kArena = 1 << 20;
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  for (const BlockReference wrong :
       {BlockReference{kArena, 64}, BlockReference{kArena - 64, 65}, BlockReference{0, kArena + 1},
        BlockReference{kMax - 63, 64}, BlockReference{64, kMax}, BlockReference{kMax, kMax},
        BlockReference{1, 64}}) {
    ChannelPair pair;
    ASSERT_EQ(pair.worker.send({.block = wrong}, guard()), ChannelStatus::kDone);
    const Received received = pair.host.receive(guard());
    ASSERT_EQ(received.status, ChannelStatus::kDone);
    EXPECT_THROW((void)pair.host.map(received.message.block), ChannelError)
        << wrong.offset << " " << wrong.bytes;
    EXPECT_EQ(pair.host.end(), ChannelEnd::kBadBlock);
  }
}

TEST(ChannelCorruption, TheWholeArenaIsABlock) {
  ChannelPair pair;
  EXPECT_EQ(pair.host.map({.offset = 0, .bytes = 1 << 20}).bytes(), std::size_t{1} << 20);
}

TEST(ChannelCorruption, AReturnOfABlockThatWasNotLentEndsIt) {
  ChannelPair pair;
  const std::optional<Block> block = pair.host.allocate(64, guard());
  Vandal vandal(pair.host);
  vandal.shared->returns[kHost].slots[0] = 0;
  vandal.shared->returns[kHost].written.store(1);
  EXPECT_FALSE(pair.host.allocate(64, guard()));
  EXPECT_EQ(pair.host.end(), ChannelEnd::kBadReturn);
}

TEST(ChannelCorruption, ABlockGivenBackTwiceEndsIt) {
  ChannelPair pair;
  const std::optional<Block> block = pair.host.allocate(64, guard());
  const auto lent = pair.host.lend(*block);
  { const Block mapped = pair.worker.map(*lent); }
  { const Block again = pair.worker.map(*lent); }
  EXPECT_FALSE(pair.host.allocate(64, guard()));
  EXPECT_EQ(pair.host.end(), ChannelEnd::kBadReturn);
}

TEST(ChannelCorruption, AFullRingOfReturnsEndsItInsteadOfBlockingADestructor) {
  ChannelPair pair;
  const std::optional<Block> block = pair.worker.allocate(64, guard());
  Block mapped = pair.host.map(*pair.worker.lend(*block));
  Vandal(pair.host).shared->returns[kWorker].taken.store(0u - kReturnSlots);
  mapped = Block();
  EXPECT_EQ(pair.host.end(), ChannelEnd::kBadRing);
}

TEST(ChannelCorruption, MemoryThatIsNoChannelIsRefused) {
  const auto adopted = [](const SharedMemory& memory) {
    return Channel::adopt(Descriptor(fcntl(memory.descriptor(), F_DUPFD_CLOEXEC, 3)));
  };
  EXPECT_THROW((void)adopted(SharedMemory::create(64)), ChannelError);
  EXPECT_THROW((void)adopted(SharedMemory::create(kArenasBegin + (1 << 20))), ChannelError);
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{1} << 63, std::uint64_t{4'097},
                                    std::numeric_limits<std::uint64_t>::max()}) {
    ChannelPair pair;
    Vandal vandal(pair.host);
    vandal.shared->arena_bytes[kHost] = wrong;
    EXPECT_THROW((void)adopted(vandal.memory), ChannelError) << wrong;
  }
}

TEST(ChannelCorruption, RandomBytesInTheControlPartEndItOrDoNoHarm) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  int ended = 0;
  for (int round = 0; round < 300; ++round) {
    ChannelPair pair({.host_arena_bytes = 4'096, .worker_arena_bytes = 4'096});
    std::optional<Block> argument = pair.host.allocate(100, guard());
    ASSERT_TRUE(argument);
    const auto lent = pair.host.lend(*argument);
    ASSERT_TRUE(lent);
    ASSERT_EQ(pair.host.send({.block = *lent}, guard()), ChannelStatus::kDone);
    for (std::uint64_t call = 0; call < 3; ++call) {
      ASSERT_EQ(pair.worker.send({.call = call}, guard()), ChannelStatus::kDone);
    }
    Vandal vandal(pair.host);
    // The words that are read, and bytes anywhere.
    auto* const bytes = vandal.memory.data();
    auto& messages = vandal.shared->messages;
    for (std::uint64_t i = random() % 3; i > 0; --i) {
      switch (random() % 5) {
        case 0:
          messages[kWorker].written.store(static_cast<std::uint32_t>(random() % 300));
          break;
        case 1:
          messages[kHost].taken.store(static_cast<std::uint32_t>(random() % 300));
          break;
        case 2:
          vandal.shared->returns[kHost].written.store(random() % 3);
          break;
        case 3:
          messages[kWorker].slots[random() % 4].block = {random() % 8'192, random() % 8'192};
          break;
        default:
          break;
      }
    }
    for (int i = 0; i < 500; ++i) bytes[random() % kArenasBegin] = std::byte(random());

    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
    int received = 0;
    unsigned sum = 0;
    for (;;) {
      const Received next = pair.host.receive(deadline);
      if (next.status != ChannelStatus::kDone) break;
      ASSERT_LE(++received, static_cast<int>(kMessageSlots)) << "more than there can be";
      try {
        const Block block = pair.host.map(next.message.block);
        for (std::size_t i = 0; i < block.bytes(); ++i)
          sum += std::to_integer<unsigned>(block.data()[i]);
      } catch (const ChannelError&) {
      }
    }
    EXPECT_GE(sum, 0U);
    (void)pair.host.allocate(64, deadline);
    (void)pair.host.send({}, deadline);
    ended += pair.host.end() != ChannelEnd::kOpen ? 1 : 0;
  }
  EXPECT_GT(ended, 30) << "the damage was too little to test anything";
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// A channel between two processes: round trips, deaths, and nothing left behind.
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/peer_watch.h>

#include <gtest/gtest.h>

#include <signal.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <random>
#include <string>

#include "../support/held.h"
#include "channel_pair.h"
#include "spawn.h"

namespace streamgate::executor {
namespace {

using testing::Child;
using testing::guard;

constexpr ChannelOptions kSmall{.host_arena_bytes = 1 << 20, .worker_arena_bytes = 1 << 20};

struct WithPeer {
  explicit WithPeer(const std::string& what, const ChannelOptions& options = kSmall)
      : host(Channel::create(options)),
        peer(STREAMGATE_WORKERS_PEER, {what}, {{host.descriptor(), 3}}),
        watch(peer.pidfd(), [this] { host.close(ChannelEnd::kPeerDied); }) {}
  Channel host;
  Child peer;
  PeerWatch watch;
};

/// Sends one block and returns the block that comes back for it.
Block round_trip(Channel& host, std::size_t bytes, unsigned seed) {
  std::optional<Block> argument = host.allocate(bytes, guard());
  if (!argument) return {};
  for (std::size_t i = 0; i < bytes; ++i) argument->data()[i] = std::byte(seed + i);
  ChannelMessage message{.call = seed};
  const auto lent = bytes == 0 ? BlockReference{} : host.lend(*argument).value();
  message.block = lent;
  argument.reset();
  if (host.send(message, guard()) != ChannelStatus::kDone) return {};
  const Received reply = host.receive(guard());
  if (reply.status != ChannelStatus::kDone || reply.message.call != seed) return {};
  return host.map(reply.message.block);
}

TEST(ChannelProcess, BlocksOfManySizesMakeTheRoundTrip) {
  WithPeer process("echo");
  std::mt19937 random(3);
  for (unsigned i = 0; i < 2'000; ++i) {
    const std::size_t bytes = 1 + random() % (i % 100 == 0 ? 1'000'000 : 5'000);
    const Block result = round_trip(process.host, bytes, i);
    ASSERT_EQ(result.bytes(), bytes);
    for (std::size_t j = 0; j < bytes; ++j) {
      ASSERT_EQ(result.data()[j], std::byte(i + j + 1)) << "round " << i << ", byte " << j;
    }
  }
  process.host.close();
  EXPECT_EQ(process.peer.wait().exit_code, 0) << "the peer saw the channel close";
}

TEST(ChannelProcess, BothArenasAreEmptyAgainWhenEverythingWasGivenBack) {
  WithPeer process("echo");
  for (unsigned i = 0; i < 100; ++i) ASSERT_TRUE(round_trip(process.host, 10'000, i));
  EXPECT_TRUE(testing::eventually([&] { return process.host.used_bytes() == 0; }));
}

TEST(ChannelProcess, AKilledPeerEndsAWaitWithoutADeadline) {
  WithPeer process("echo");
  ASSERT_TRUE(round_trip(process.host, 100, 1));
  process.peer.signal(SIGKILL);
  const Received received = process.host.receive(std::chrono::steady_clock::time_point::max());
  EXPECT_EQ(received.status, ChannelStatus::kEnded);
  EXPECT_EQ(process.host.end(), ChannelEnd::kPeerDied);
  EXPECT_EQ(process.peer.wait().signal, SIGKILL);
}

TEST(ChannelProcess, APeerThatExitsWithoutClosingEndsTheWait) {
  WithPeer process("exit-without-closing");
  ASSERT_EQ(process.host.send({}, guard()), ChannelStatus::kDone);
  EXPECT_EQ(process.host.receive(guard()).status, ChannelStatus::kEnded);
  EXPECT_EQ(process.host.end(), ChannelEnd::kPeerDied);
}

TEST(ChannelProcess, ResultsOutliveTheKilledPeerAndTheChannel) {
  Block kept;
  {
    WithPeer process("reply-and-be-killed");
    kept = [&] {
      std::optional<Block> argument = process.host.allocate(5'000, guard());
      std::memset(argument->data(), 7, 5'000);
      EXPECT_EQ(process.host.send({.block = *process.host.lend(*argument)}, guard()),
                ChannelStatus::kDone);
      const Received reply = process.host.receive(guard());
      EXPECT_EQ(reply.status, ChannelStatus::kDone);
      return process.host.map(reply.message.block);
    }();
    EXPECT_EQ(process.peer.wait().signal, SIGKILL);
  }
  ASSERT_EQ(kept.bytes(), 5'000U);
  for (std::size_t i = 0; i < kept.bytes(); ++i) ASSERT_EQ(kept.data()[i], std::byte{7});
}

TEST(ChannelProcess, AStoppedPeerCostsTheDeadlineAndNoMore) {
  WithPeer process("echo");
  ASSERT_TRUE(round_trip(process.host, 100, 1));
  process.peer.signal(SIGSTOP);
  ASSERT_EQ(process.host.send({.call = 5}, guard()), ChannelStatus::kDone);
  EXPECT_EQ(process.host.receive(testing::soon()).status, ChannelStatus::kDeadline);
  process.peer.signal(SIGCONT);
  EXPECT_EQ(process.host.receive(guard()).message.call, 5U);
}

TEST(ChannelProcess, NothingIsLeftOfManyChannelsHoweverTheirPeersEnd) {
  const testing::Held before = testing::held();
  for (unsigned i = 0; i < 24; ++i) {
    WithPeer process(i % 3 == 2 ? "reply-and-be-killed" : "echo");
    const Block result = round_trip(process.host, 1'000, i);
    ASSERT_TRUE(result);
    EXPECT_GT(testing::held().mappings, before.mappings) << "the count counts";
    if (i % 3 == 0) process.peer.signal(SIGKILL);
  }
  EXPECT_EQ(testing::held(), before);
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The other process of these tests. Of the channel's: a worker's side on descriptor 3, which does
// what its one argument says. Of the pool's: a test worker, or a host of workers that is to be
// killed. Exit codes: 0 as told, 2 the channel ended, 3 a deadline, 4 the descriptor was no
// channel.
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/internal/descriptor.h>
#include <streamgate/executor/workers/shared_futex.h>
#include <streamgate/executor/workers/shared_memory.h>
#include <streamgate/executor/workers/worker_program.h>

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "pool_support.h"
#include "test_runner.h"

namespace {

using namespace streamgate::executor;

std::chrono::steady_clock::time_point guard() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(60);
}

/// Answers every message with its block's bytes, each one more, until the host closes.
int echo(Channel& channel) {
  for (;;) {
    const Received received = channel.receive(guard());
    if (received.status == ChannelStatus::kDeadline) return 3;
    if (received.status == ChannelStatus::kEnded) {
      return channel.end() == ChannelEnd::kPeerClosed ? 0 : 2;
    }
    ChannelMessage reply = received.message;
    reply.block = {};
    const Block argument = channel.map(received.message.block);
    if (argument) {
      std::optional<Block> result = channel.allocate(argument.bytes(), guard());
      if (!result) return 3;
      for (std::size_t i = 0; i < argument.bytes(); ++i) {
        result->data()[i] = std::byte(std::to_integer<int>(argument.data()[i]) + 1);
      }
      const std::optional<BlockReference> lent = channel.lend(*result);
      if (!lent) return 3;
      reply.block = *lent;
    }
    if (channel.send(reply, guard()) != ChannelStatus::kDone) return 2;
  }
}

/// The other end of a bare futex ping-pong: 1 is its turn, 2 its end.
int ping_pong() {
  SharedMemory memory = SharedMemory::adopt(Descriptor(3));
  auto& turn = *reinterpret_cast<std::atomic<std::uint32_t>*>(memory.data());
  for (;;) {
    while (turn.load() == 0) sleep_on_shared(turn, 0, guard());
    if (turn.load() == 2) return 0;
    turn.store(0);
    wake_on_shared(turn);
  }
}

int run(const std::string& what) {
  if (what == "ping-pong") return ping_pong();
  Channel channel = Channel::adopt(Descriptor(3));
  if (what == "echo") return echo(channel);
  const Received received = channel.receive(guard());
  if (received.status != ChannelStatus::kDone) return 3;
  if (what == "exit-without-closing") {
    std::fflush(nullptr);
    _exit(0);
  }
  if (what == "reply-and-be-killed") {
    const Block argument = channel.map(received.message.block);
    std::optional<Block> result = channel.allocate(argument.bytes(), guard());
    if (!result) return 3;
    std::memcpy(result->data(), argument.data(), argument.bytes());
    ChannelMessage reply = received.message;
    if (const auto lent = channel.lend(*result)) reply.block = *lent;
    if (channel.send(reply, guard()) != ChannelStatus::kDone) return 2;
    raise(SIGKILL);
  }
  return 1;
}

/// A pool whose workers are busy with what never ends, until somebody kills this process. Says the
/// workers' process ids on standard output.
int host(const std::string& deed) {
  using namespace streamgate::testing;
  WorkerPoolOptions options = pool_options(3);
  options.supervisor.program = worker_program("");
  WorkerPool pool(options);
  std::vector<std::unique_ptr<TestCall>> calls;
  if (!wait_for_ready(pool, 3)) return 3;
  std::string ids;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(call(pool, "i"));
    // The last in is the first out, so the others are asked while it is busy.
    ids += calls.back()->answer + " ";
    calls.push_back(std::make_unique<TestCall>(deed));
    pool.submit(*calls.back(), {});
  }
  std::printf("%s\n", ids.c_str());
  std::fflush(stdout);
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  streamgate::testing::TestRunner runner;
  if (const auto code = serve_as_worker(argc, argv, runner)) return *code;
  try {
    if (argc == 3 && std::string(argv[1]) == "host") return host(argv[2]);
    return argc == 2 ? run(argv[1]) : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "peer: %s\n", error.what());
    return 4;
  }
}

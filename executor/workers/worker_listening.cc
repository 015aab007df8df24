// SPDX-License-Identifier: Apache-2.0
//
// What the thread does that listens to one worker: the handshake, then every message, and at the
// end the report. It is the supervisor's other half.
#include <streamgate/executor/internal/thread_name.h>
#include <streamgate/executor/workers/protocol.h>
#include <streamgate/executor/workers/supervisor.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace streamgate::executor {
namespace {

using Clock = std::chrono::steady_clock;

bool is(const ChannelMessage& message, MessageKind kind) {
  return message.kind == static_cast<std::uint32_t>(kind);
}

void add(DurationHistogram& histogram, std::chrono::nanoseconds duration) {
  const auto& bounds = duration_bounds();
  ++histogram.counts[static_cast<std::size_t>(
      std::lower_bound(bounds.begin(), bounds.end(), duration) - bounds.begin())];
  histogram.sum += duration;
}

}  // namespace

void Supervisor::listen(const std::shared_ptr<Worker>& worker) noexcept {
  set_thread_name("sg-worker-" + std::to_string(worker->number));
  std::string failure;
  try {
    failure = shake_hands(*worker);
  } catch (const std::exception& error) {
    failure = error.what();
  }
  const bool ready = failure.empty();
  if (ready) {
    {
      const Lock lock(mutex_);
      worker->ready = true;
      restart_.became_ready();
      add(start_time_, Clock::now() - worker->started_at);
    }
    listener_.on_ready(worker);
    for (;;) {
      const Received received = worker->turn.receive();
      if (received.status != ChannelStatus::kDone) break;
      listener_.on_message(worker, received.message);
    }
    switch (const ChannelEnd why = worker->channel.end()) {
      case ChannelEnd::kOpen:
      case ChannelEnd::kClosed:    // By us: it is being ended.
      case ChannelEnd::kPeerDied:  // The supervisor said so.
        break;
      case ChannelEnd::kPeerClosed:  // It ends by itself, or is made to.
        end(worker, WorkerExit::kExited, "it closed its channel");
        break;
      case ChannelEnd::kBadRing:
      case ChannelEnd::kBadBlock:
      case ChannelEnd::kBadReturn:
      case ChannelEnd::kBadMessage:
        end(worker, WorkerExit::kCorrupt,
            "what it wrote into the channel cannot be (" + std::string(to_string(why)) + ")");
        break;
    }
  } else {
    end(worker, WorkerExit::kStartFailed, failure);
  }

  std::optional<WorkerEnd> ended;
  {
    // Without a deadline: the supervisor kills whoever is condemned, and sees every death.
    Lock lock(mutex_);
    ended_.wait(lock, [&] { return worker->end.has_value(); });
    ended = worker->end;
  }
  if (ready) listener_.on_end(worker, *ended);
  {
    const Lock lock(mutex_);
    worker->listened_out = true;
  }
  wake();
}

std::string Supervisor::shake_hands(Worker& worker) {
  Channel& channel = worker.channel;
  const auto within = [](std::chrono::milliseconds time) {
    return "; it was given " + std::to_string(time.count()) + " ms";
  };
  const Received up = channel.receive(worker.started_at + options_.start_within);
  if (up.status == ChannelStatus::kDeadline) {
    return "it did not report" + within(options_.start_within);
  }
  if (up.status == ChannelStatus::kEnded) return "it closed its channel";
  if (!is(up.message, MessageKind::kUp)) return "its first message is not the report";
  if (up.message.detail != kWorkerProtocol) {
    return "it speaks version " + std::to_string(up.message.detail) +
           " of the protocol, and this process " + std::to_string(kWorkerProtocol) +
           "; let overflow.worker_command name a program of the same Streamgate";
  }
  {
    const Block text = channel.map(up.message.block);
    const std::string identity(reinterpret_cast<const char*>(text.data()), text.bytes());
    if (!options_.identity.empty() && identity != options_.identity) {
      return "it runs on libtorch " + identity + ", and this process on " + options_.identity +
             "; let overflow.worker_command name a program with the same libtorch";
    }
  }

  const auto ready_by = Clock::now() + options_.ready_within;
  ChannelMessage configure{.kind = static_cast<std::uint32_t>(MessageKind::kConfigure)};
  const std::optional<Block> block = channel.allocate(options_.configuration.size(), Clock::now());
  if (!block) return "its arena is too small for the configuration";
  if (*block) {
    std::memcpy(block->data(), options_.configuration.data(), options_.configuration.size());
    configure.block = channel.lend(*block).value_or(BlockReference{});
  }
  if (channel.send(configure, ready_by) != ChannelStatus::kDone) {
    return "it closed its channel";
  }
  const Received answer = channel.receive(ready_by);
  if (answer.status == ChannelStatus::kDeadline) {
    return "it was not ready" + within(options_.ready_within);
  }
  if (answer.status == ChannelStatus::kEnded) return "it closed its channel";
  if (is(answer.message, MessageKind::kReady)) return {};
  if (!is(answer.message, MessageKind::kUnfit)) return "it said something else than ready";
  const Block text = channel.map(answer.message.block);
  return "it cannot serve: " +
         std::string(reinterpret_cast<const char*>(text.data()), text.bytes());
}

}  // namespace streamgate::executor

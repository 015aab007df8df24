// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/worker_loop.h>

#include <streamgate/executor/internal/descriptor.h>
#include <streamgate/executor/workers/peer_watch.h>
#include <streamgate/executor/workers/protocol.h>

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

namespace streamgate::executor {
namespace {

using Clock = std::chrono::steady_clock;

/// No deadline of ours on waits for the host: it may have nothing to say for days, and its end
/// ends this process.
constexpr Clock::time_point kAslongAsTheHostLives = Clock::time_point::max();

/// Texts are cut to this: an operator's error may quote a whole module.
constexpr std::size_t kLongestText = 16 * 1024;

class WorkerLoop {
 public:
  WorkerLoop(Channel& channel, CallRunner& runner) : channel_(channel), runner_(runner) {}

  int serve(std::size_t intra_op_threads) {
    if (!shake_hands(intra_op_threads)) return kWorkerEnded;
    for (;;) {
      const Received received = channel_.receive(kAslongAsTheHostLives);
      if (received.status != ChannelStatus::kDone) break;
      const ChannelMessage& message = received.message;
      if (message.kind != static_cast<std::uint32_t>(MessageKind::kCall)) {
        throw ChannelError(ChannelEnd::kBadMessage, "the host sent no call");
      }
      if (!answer(message)) break;
    }
    return kWorkerEnded;
  }

 private:
  bool send(MessageKind kind, std::uint64_t call, BlockReference block, std::uint32_t detail = 0,
            std::uint64_t argument = 0) {
    return channel_.send({.call = call,
                          .kind = static_cast<std::uint32_t>(kind),
                          .detail = detail,
                          .block = block,
                          .argument = argument},
                         kAslongAsTheHostLives) == ChannelStatus::kDone;
  }

  /// Without room for it the text is left out: the answer matters more.
  bool send_text(MessageKind kind, std::uint64_t call, std::string_view text,
                 std::uint32_t detail = 0, std::uint64_t argument = 0) {
    text = text.substr(0, kLongestText);
    BlockReference reference;
    const std::optional<Block> block = channel_.allocate(text.size(), Clock::now());
    if (block && *block) {
      std::memcpy(block->data(), text.data(), text.size());
      reference = channel_.lend(*block).value_or(BlockReference{});
    }
    return send(kind, call, reference, detail, argument);
  }

  bool shake_hands(std::size_t intra_op_threads) {
    if (!send_text(MessageKind::kUp, 0, runner_.identity(), kWorkerProtocol,
                   static_cast<std::uint64_t>(getpid()))) {
      return false;
    }
    const Received received = channel_.receive(kAslongAsTheHostLives);
    if (received.status != ChannelStatus::kDone) return false;
    if (received.message.kind != static_cast<std::uint32_t>(MessageKind::kConfigure)) {
      throw ChannelError(ChannelEnd::kBadMessage, "the host sent no configuration");
    }
    const Block configuration = channel_.map(received.message.block);
    try {
      runner_.prepare({reinterpret_cast<const char*>(configuration.data()), configuration.bytes()},
                      intra_op_threads);
    } catch (const std::exception& error) {
      if (!send_text(MessageKind::kUnfit, 0, error.what())) return false;
      // The host has the word now, and ends this process.
      return channel_.receive(kAslongAsTheHostLives).status == ChannelStatus::kDone && false;
    }
    return send(MessageKind::kReady, 0, {});
  }

  bool answer(const ChannelMessage& message) {
    const std::uint64_t number = message.call;
    RunningCall call(channel_, channel_.map(message.block), number);
    const auto now = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    if (message.argument != 0 && now >= message.argument) {
      return send(MessageKind::kExpired, number, {});
    }
    if (call.is_cancelled()) return send(MessageKind::kCancelled, number, {});
    // From here on the host does not give this call to another worker, whatever becomes of us.
    channel_.set_started(number);
    channel_.count_progress();
    try {
      const BlockReference response = runner_.run(call);
      channel_.count_progress();
      return send(MessageKind::kDone, number, response, call.first_runs ? 1 : 0);
    } catch (const CallCancelled&) {
      return send(MessageKind::kCancelled, number, {});
    } catch (const ChannelError&) {
      if (channel_.end() != ChannelEnd::kOpen) throw;
      return send_text(MessageKind::kFailed, number, "the request cannot be read");
    } catch (const std::exception& error) {
      return send_text(MessageKind::kFailed, number, error.what());
    } catch (...) {
      return send_text(MessageKind::kFailed, number,
                       "the operation threw something that is no std::exception");
    }
  }

  Channel& channel_;
  CallRunner& runner_;
};

/// Asks the kernel to end this process with the thread that started it, which is the host's
/// supervisor. What the kernel was asked too late is seen by the second look: a host that ended
/// before has left us to another parent.
void end_with_parent(std::int64_t host) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != static_cast<pid_t>(host)) _exit(kWorkerOrphaned);
}

}  // namespace

int serve_host(const WorkerLinks& links, CallRunner& runner) noexcept {
  try {
    end_with_parent(links.host);
    // Beside the signal: a pipe is heard also where the signal is not, as after a change of user.
    const Descriptor life(links.life);
    const PeerWatch watch(life.get(), []() noexcept { _exit(kWorkerOrphaned); });
    Channel channel = Channel::adopt(Descriptor(links.channel));
    return WorkerLoop(channel, runner).serve(links.intra_op_threads);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "streamgate worker: %s\n", error.what());
    return kWorkerCannotServe;
  }
}

}  // namespace streamgate::executor

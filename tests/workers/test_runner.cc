// SPDX-License-Identifier: Apache-2.0
#include "test_runner.h"

#include <streamgate/executor/internal/descriptor.h>
#include <streamgate/executor/workers/channel_state.h>
#include <streamgate/executor/workers/protocol.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <optional>
#include <stdexcept>

#include "../support/event.h"

namespace streamgate::testing {
namespace {

using executor::Block;
using executor::BlockReference;
using executor::Channel;
using executor::ChannelMessage;
using executor::MessageKind;

BlockReference answer_with(Channel& channel, std::string_view text) {
  const std::optional<Block> block =
      channel.allocate(text.size(), std::chrono::steady_clock::now() + kGuard);
  if (!block) throw std::runtime_error("no room for the answer");
  if (!*block) return {};
  std::memcpy(block->data(), text.data(), text.size());
  return channel.lend(*block).value();
}

[[noreturn]] void hang() {
  for (;;) ::pause();
}

/// One line, in one write, so that lines of several workers do not mix.
void note(const std::string& file) {
  const executor::Descriptor descriptor(open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0600));
  if (write(descriptor.get(), "begun\n", kNoteBytes) != static_cast<ssize_t>(kNoteBytes))
    throw std::runtime_error("cannot note");
}

/// The channel's memory once more: what a worker gone wild writes to.
executor::SharedChannel& wild(Channel& channel) {
  const int descriptor = channel.descriptor();
  void* const memory =
      mmap(nullptr, executor::kArenasBegin, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory to go wild in");
  return *static_cast<executor::SharedChannel*>(memory);
}

/// With a limit a little above what the process has, as a container or a ulimit sets one.
[[noreturn]] void run_out_of_memory() {
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlimit lowered{
      .rlim_cur = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + (std::size_t{16} << 20),
      .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_AS, &lowered);
  std::vector<std::string> taken;
  try {
    for (;;) taken.emplace_back(std::size_t{1} << 20, 'x');
  } catch (const std::bad_alloc&) {
    setrlimit(RLIMIT_AS, &before);
    taken.clear();
    throw std::runtime_error("out of memory");
  }
}

void send(Channel& channel, const ChannelMessage& message) {
  static_cast<void>(channel.send(message, std::chrono::steady_clock::now() + kGuard));
}

constexpr auto kDoneKind = static_cast<std::uint32_t>(MessageKind::kDone);

}  // namespace

std::string TestRunner::identity() {
  // "silent" in the environment: a process that never reports.
  if (std::getenv("STREAMGATE_TEST_SILENT") != nullptr) hang();
  return "test 1";
}

void TestRunner::prepare(std::string_view configuration, std::size_t intra_op_threads) {
  intra_op_threads_ = intra_op_threads;
  if (configuration == "unfit") throw std::runtime_error("no such module");
  if (configuration == "stall") hang();
  if (configuration == "slow") usleep(static_cast<useconds_t>(getpid() % 16) * 1'000);
  if (configuration == "die") {
    std::fprintf(stderr, "cannot load the device\n");
    raise(SIGABRT);
  }
  const std::string_view first_dies = "first-dies:";
  if (configuration.starts_with(first_dies)) {
    const std::string file(configuration.substr(first_dies.size()));
    if (!std::filesystem::exists(file)) {
      std::ofstream(file) << "tried\n";
      _exit(9);
    }
  }
}

BlockReference TestRunner::run(executor::RunningCall& call) {
  std::string text(reinterpret_cast<const char*>(call.request.data()), call.request.bytes());
  if (text.empty()) return {};
  const char deed = text[0];
  text.erase(0, 1);
  switch (deed) {
    case kProcessId:
      return answer_with(call.channel, std::to_string(getpid()));
    case kThrow:
      throw std::runtime_error(text);
    case kRaise:
      std::fprintf(stderr, "last words\n");
      signal(std::stoi(text), SIG_DFL);  // A sanitizer would make an exit of it.
      raise(std::stoi(text));
      break;
    case kExit:
      std::fflush(nullptr);
      _exit(std::stoi(text));
    case kHangDeaf:
      signal(SIGTERM, SIG_IGN);
      [[fallthrough]];
    case kHang:
      if (!text.empty()) note(text);
      hang();
    case kWaitForCancel:
      while (!call.is_cancelled()) usleep(100);
      call.throw_if_cancelled();
      break;
    case kMove:
      while (!call.is_cancelled()) {
        usleep(100);
        call.channel.count_progress();
      }
      call.throw_if_cancelled();
      break;
    case kNoteAndEcho:
      note(text);
      break;
    case kNoteAndDie:
      note(text);
      raise(SIGKILL);
      break;
    case kGrow:
      kept_.emplace_back(std::stoul(text) << 20, 'x');
      break;
    case kRunOutOfMemory:
      run_out_of_memory();
    case kSpoilRing:
      wild(call.channel).messages[1].written.fetch_add(100'000);
      wild(call.channel).messages[1].data.ring_always();
      hang();
    case kAnswerOther:
      send(call.channel, {.call = 999'999, .kind = kDoneKind});
      hang();
    case kAnswerTwice: {
      const std::uint64_t number = call.channel.started();
      send(call.channel, {.call = number, .kind = kDoneKind});
      break;
    }
    case kDieWhileAnswering: {
      static_cast<void>(answer_with(call.channel, text));
      raise(SIGKILL);
      break;
    }
    case kFirstRun:
      call.first_runs = true;
      break;
    case kBadDetail:
      send(call.channel, {.call = call.channel.started(), .kind = kDoneKind, .detail = 2});
      hang();
    case kBadBlock:
      return {.offset = std::uint64_t{1} << 40, .bytes = 64};
    default:
      break;
  }
  return answer_with(call.channel, text);
}

}  // namespace streamgate::testing

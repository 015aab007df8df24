// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/worker_program.h>

#include <streamgate/executor/workers/protocol.h>

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <string_view>

namespace streamgate::executor {
namespace {

std::atomic<bool> this_program_can_serve{false};

/// Not what it points to: this is the running program even when its file was replaced meanwhile.
constexpr const char* kThisProgram = "/proc/self/exe";

template <typename Number>
bool read(const char* text, Number& number) {
  const char* const end = text + std::strlen(text);
  const auto [stopped_at, error] = std::from_chars(text, end, number);
  return error == std::errc() && stopped_at == end && end != text;
}

}  // namespace

std::string worker_program(const std::string& worker_command) {
  if (worker_command.empty()) {
    if (this_program_can_serve) return kThisProgram;
    throw std::invalid_argument(
        "there is no program for workers: set overflow.worker_command to the absolute path of "
        "`streamgate`, or call streamgate::serve_as_worker first in this program's main");
  }
  if (!worker_command.starts_with('/')) {
    throw std::invalid_argument("overflow.worker_command = \"" + worker_command +
                                "\" is not an absolute path, and none is searched");
  }
  struct stat about {};
  if (stat(worker_command.c_str(), &about) != 0 || !S_ISREG(about.st_mode) ||
      access(worker_command.c_str(), X_OK) != 0) {
    throw std::invalid_argument("overflow.worker_command = \"" + worker_command +
                                "\" is not a program that can be executed");
  }
  return worker_command;
}

std::optional<WorkerLinks> worker_links(int argc, const char* const* argv) {
  // Exactly as the supervisor writes it: a service may have a sub-command `worker` of its own.
  if (argc != 10 || std::string_view(argv[1]) != "worker") return std::nullopt;
  WorkerLinks links;
  const bool all = argv[2] == std::string_view("--channel-fd") && read(argv[3], links.channel) &&
                   argv[4] == std::string_view("--life-fd") && read(argv[5], links.life) &&
                   argv[6] == std::string_view("--host") && read(argv[7], links.host) &&
                   argv[8] == std::string_view("--intra-op") &&
                   read(argv[9], links.intra_op_threads);
  if (!all || links.channel < 0 || links.life < 0) return std::nullopt;
  return links;
}

std::optional<int> serve_as_worker(int argc, const char* const* argv, CallRunner& runner) {
  if (const std::optional<WorkerLinks> links = worker_links(argc, argv)) {
    return serve_host(*links, runner);
  }
  this_program_can_serve = true;
  return std::nullopt;
}

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// posix_spawn, never fork: this process has threads, and libtorch's state does not survive one.
#include <streamgate/executor/workers/worker_process.h>

#include <streamgate/executor/internal/spawn_settings.h>
#include <streamgate/executor/workers/peer_watch.h>
#include <streamgate/executor/workers/protocol.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>

extern char** environ;

namespace streamgate::executor {
namespace {

constexpr std::size_t kWordsKept = 4096;

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), "worker process: " + what);
}

/// Above every number that the child gives a meaning to, so that one does not overwrite another.
Descriptor above(int descriptor, int lowest) {
  Descriptor copy(fcntl(descriptor, F_DUPFD_CLOEXEC, lowest));
  if (!copy) fail(errno, "descriptor");
  return copy;
}

/// This process's environment, with some of it replaced.
std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& others) {
  std::vector<std::string> all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    bool replaced = false;
    for (const auto& [name, value] : others) {
      replaced = replaced || (text.starts_with(name) && text.substr(name.size()).starts_with('='));
    }
    if (!replaced) all.emplace_back(text);
  }
  for (const auto& [name, value] : others) all.push_back(name + "=" + value);
  return all;
}

int pidfd_open(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace

std::string signal_name(int signal) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
  if (const char* const name = sigabbrev_np(signal)) return "SIG" + std::string(name);
#endif
  return "signal " + std::to_string(signal);
}

WorkerProcess::WorkerProcess(const ProcessOptions& options) {
  int highest = STDERR_FILENO;
  for (const auto& [ours, theirs] : options.descriptors) highest = std::max(highest, theirs);
  highest = std::max(highest, kLifeInWorker);
  Lifeline life;
  Lifeline words;
  SpawnSettings settings;
  posix_spawn_file_actions_addopen(&settings.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  std::vector<Descriptor> copies;
  const auto pass = [&](int ours, int theirs) {
    copies.push_back(above(ours, highest + 1));
    posix_spawn_file_actions_adddup2(&settings.files, copies.back().get(), theirs);
  };
  pass(words.writing.get(), STDOUT_FILENO);
  pass(words.writing.get(), STDERR_FILENO);
  pass(life.reading.get(), kLifeInWorker);
  for (const auto& [ours, theirs] : options.descriptors) pass(ours, theirs);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  // A service may have descriptors that are not closed on exec, sockets of its clients among them.
  posix_spawn_file_actions_addclosefrom_np(&settings.files, highest + 1);
#endif

  std::vector<std::string> texts{options.program};
  texts.insert(texts.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> variables = environment_with(options.environment);
  const int error =
      posix_spawn(&pid_, options.program.c_str(), &settings.files, &settings.attributes,
                  pointers(texts).data(), pointers(variables).data());
  if (error != 0) fail(error, options.program);
  words_ = std::move(words.reading);
  life_ = std::move(life.writing);
  fcntl(words_.get(), F_SETFL, O_NONBLOCK);
  pidfd_ = Descriptor(pidfd_open(pid_));
  if (!pidfd_) {
    const int full = errno;
    ::kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    fail(full, "pidfd_open");
  }
}

WorkerProcess::~WorkerProcess() {
  if (reaped_) return;
  signal(SIGKILL);
  siginfo_t info{};
  while (waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) < 0 && errno == EINTR) {
  }
}

void WorkerProcess::signal(int number) const noexcept {
  // Never by the number of the process, which may be another one's by now.
  syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

void WorkerProcess::hear() {
  std::array<char, 4096> buffer;
  // Bounded: a child that never stops talking must not keep us from watching the others.
  for (int reads = 0; reads < 16 && words_; ++reads) {
    const ssize_t bytes = read(words_.get(), buffer.data(), buffer.size());
    if (bytes < 0) return;
    if (bytes == 0) return words_.reset();
    last_words_.append(buffer.data(), static_cast<std::size_t>(bytes));
    if (last_words_.size() > kWordsKept) last_words_.erase(0, last_words_.size() - kWordsKept);
  }
}

std::optional<ProcessEnd> WorkerProcess::reap() noexcept {
  siginfo_t info{};
  const int waited = waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG);
  if (waited < 0 && errno != ECHILD) return std::nullopt;
  if (waited == 0 && info.si_pid == 0) return std::nullopt;
  reaped_ = true;
  life_.reset();
  if (waited < 0) return ProcessEnd{.known = false, .exit_code = 0, .signal = 0};
  if (info.si_code == CLD_EXITED) return ProcessEnd{.exit_code = info.si_status};
  return ProcessEnd{.signal = info.si_status};
}

std::optional<std::size_t> WorkerProcess::own_memory() const {
  std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
  std::size_t size = 0;
  std::size_t resident = 0;
  std::size_t shared = 0;
  if (!(statm >> size >> resident >> shared) || shared > resident) return std::nullopt;
  return (resident - shared) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace streamgate::executor

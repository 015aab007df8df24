// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/internal/child_process.h>

#include <streamgate/executor/internal/spawn_settings.h>
#include <streamgate/executor/probe/internal/shared_memory.h>
#include <streamgate/executor/probe/trial_runner.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

extern char** environ;

namespace streamgate::executor::probe {
namespace {

constexpr std::size_t kWordsKept = 4096;
constexpr std::chrono::milliseconds kLastTick{2};

[[noreturn]] void cannot_start(const std::string& what, int error) {
  const bool exhausted = error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
  throw ProbeError("cannot start a child process for a trial: " + what + ": " +
                   std::generic_category().message(error) +
                   (exhausted ? ". This says nothing of the device. Free some memory, or raise the "
                                "limits of this user (ulimit -u, -n, -v)"
                              : ""));
}

/// Above every number that the child gives a meaning to, so that one does not overwrite another.
Descriptor high(Descriptor descriptor) {
  Descriptor copy(fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 10));
  if (!copy) cannot_start("descriptor", errno);
  return copy;
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) cannot_start("pipe", errno);
    read = Descriptor(ends[0]);
    write = Descriptor(ends[1]);
    for (Descriptor* end : {&read, &write}) *end = high(std::move(*end));
  }
  Descriptor read;
  Descriptor write;
};

}  // namespace

ChildProcess::ChildProcess(const std::string& program, const std::vector<std::string>& arguments) {
  try {
    shared_ = high(Descriptor(make_shared(sizeof(Board))));
    board_ = static_cast<Board*>(map_shared(shared_.get(), sizeof(Board)));
  } catch (const std::system_error& error) {
    cannot_start(error.what(), error.code().value());
  }
  try {
    start(program, arguments);
  } catch (...) {
    unmap_shared(board_, sizeof(Board));
    throw;
  }
}

ChildProcess::~ChildProcess() {
  kill();
  unmap_shared(board_, sizeof(Board));
}

void ChildProcess::start(const std::string& program, const std::vector<std::string>& arguments) {
  Pipe life;
  Pipe words;
  SpawnSettings settings;
  posix_spawn_file_actions_addopen(&settings.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&settings.files, words.write.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&settings.files, words.write.get(), STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&settings.files, shared_.get(), kBoardInChild);
  posix_spawn_file_actions_adddup2(&settings.files, life.read.get(), kLifeInChild);

  std::vector<std::string> texts{program};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  const int error = posix_spawn(&process_, program.c_str(), &settings.files, &settings.attributes,
                                pointers(texts).data(), environ);
  if (error != 0) {
    process_ = -1;
    cannot_start(program, error);
  }
  life_here_ = Descriptor(fcntl(life.write.get(), F_DUPFD_CLOEXEC, 10));
  words_here_ = Descriptor(fcntl(words.read.get(), F_DUPFD_CLOEXEC, 10));
  if (!life_here_ || !words_here_) {
    const int full = errno;
    kill();
    cannot_start("pipe", full);
  }
  fcntl(words_here_.get(), F_SETFL, O_NONBLOCK);
}

std::optional<int> ChildProcess::listen(std::chrono::milliseconds at_most) {
  // With its words at their end the child is about to be gone: only its status is missing.
  const bool silent = words_here_.get() < 0;
  pollfd polled{words_here_.get(), POLLIN, 0};
  poll(&polled, silent ? 0 : 1, static_cast<int>((silent ? kLastTick : at_most).count()));
  if (polled.revents != 0) read_words();
  int status = 0;
  if (waitpid(process_, &status, WNOHANG) != process_) return std::nullopt;
  process_ = -1;
  read_words();  // What it wrote between the last look and its end.
  return status;
}

void ChildProcess::read_words() {
  std::array<char, 4096> buffer;
  // Bounded: a child that never stops talking must not keep us from looking at the clock.
  for (int reads = 0; reads < 64 && words_here_.get() >= 0; ++reads) {
    const ssize_t bytes = read(words_here_.get(), buffer.data(), buffer.size());
    if (bytes < 0) return;
    if (bytes == 0) words_here_.reset();
    words_.append(buffer.data(), static_cast<std::size_t>(bytes));
    if (words_.size() > kWordsKept) words_.erase(0, words_.size() - kWordsKept);
  }
}

void ChildProcess::release() noexcept {
  // A child that is gone is found by listen; its pipe's signal is not to end us.
  const auto before = signal(SIGPIPE, SIG_IGN);
  const char byte = 1;
  static_cast<void>(!write(life_here_.get(), &byte, 1));
  signal(SIGPIPE, before);
}

void ChildProcess::kill() noexcept {
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
}

}  // namespace streamgate::executor::probe

// SPDX-License-Identifier: Apache-2.0
//
// One child process of the supervisor: started, watched, signalled and reaped through its pidfd.
// What it is told through its channel, and when it should end, is for others. Linux; another
// system's way of watching a process (kqueue) would be another .cc behind this header.
#pragma once

#include <streamgate/executor/internal/descriptor.h>

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace streamgate::executor {

/// How a process ended. Both zero: it exited with 0; `known` is false where somebody else in this
/// program reaped it, as one that ignores SIGCHLD does.
struct ProcessEnd {
  bool known = true;
  int exit_code = 0;
  int signal = 0;
};

/// "SIGSEGV", or "signal 64".
[[nodiscard]] std::string signal_name(int signal);

struct ProcessOptions {
  std::string program{};  ///< A path; no other place is searched for it.
  std::vector<std::string> arguments{};
  std::vector<std::pair<std::string, std::string>> environment{};  ///< Beside this process's own.
  /// Ours, and the number that the child has it under. The child has these, an empty standard
  /// input, and its standard output and error, which come here; nothing else.
  std::vector<std::pair<int, int>> descriptors{};
};

/// Thread-safety: confined to the supervisor's thread: the kernel ends the child with the *thread*
/// that started it. Ownership: of the child, which the destructor kills and reaps, and of three
/// descriptors. Blocking: the destructor waits for a killed child; nothing else waits. Failure: the
/// constructor throws std::system_error and leaves nothing behind.
///
///     WorkerProcess process({.program = path, .descriptors = {{channel.descriptor(), 3}}});
///     poll(process.watched(), ...);
///     if (auto end = process.reap()) log(end->signal, process.last_words());
class WorkerProcess {
 public:
  explicit WorkerProcess(const ProcessOptions& options);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Becomes readable when the process has ended.
  [[nodiscard]] int watched() const noexcept { return pidfd_.get(); }
  /// Becomes readable when there are words to hear; -1 when there will be none any more.
  [[nodiscard]] int words() const noexcept { return words_.get(); }

  void signal(int number) const noexcept;
  /// Reads what the child has written.
  void hear();
  /// The end of what it wrote, at most 4 KiB.
  [[nodiscard]] const std::string& last_words() const noexcept { return last_words_; }
  /// How it ended; nothing while it has not.
  [[nodiscard]] std::optional<ProcessEnd> reap() noexcept;
  /// Bytes of memory that it shares with nobody; nothing where that cannot be told.
  [[nodiscard]] std::optional<std::size_t> own_memory() const;

 private:
  pid_t pid_ = -1;
  Descriptor pidfd_;
  Descriptor words_;
  Descriptor life_;  ///< The writing end; the child ends itself when it is closed.
  std::string last_words_;
  bool reaped_ = false;
};

}  // namespace streamgate::executor

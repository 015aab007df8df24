// SPDX-License-Identifier: Apache-2.0
//
// A child process for one trial: how it is started, listened to and ended. What its end means is
// the business of who reads the board.
#pragma once

#include <streamgate/executor/internal/descriptor.h>
#include <streamgate/executor/probe/internal/board.h>

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::executor::probe {

/// Descriptors as the child knows them.
inline constexpr int kBoardInChild = 3;
inline constexpr int kLifeInChild = 4;

/// Started by posix_spawn, in a process group of its own, so that a Ctrl-C at the terminal is the
/// parent's alone to judge; with default signal actions; with standard output and error in a pipe.
///
/// Externally synchronised. Ownership: of the process, which it kills and reaps when it is
/// destroyed, and of the board. Blocking: listen, for as long as it is told. Failure: the
/// constructor throws ProbeError that says what to do.
class ChildProcess {
 public:
  ChildProcess(const std::string& program, const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Waits for words or the end of the child, but no longer than that and not past a signal to
  /// this process. Returns how the child ended, in the terms of waitpid, once it has.
  std::optional<int> listen(std::chrono::milliseconds at_most);

  /// Lets a held trial run its stages.
  void release() noexcept;

  /// Kills it and waits for its end, which is then certain.
  void kill() noexcept;

  [[nodiscard]] const Board& board() const noexcept { return *board_; }
  /// The end of what it wrote.
  [[nodiscard]] const std::string& words() const noexcept { return words_; }

 private:
  void start(const std::string& program, const std::vector<std::string>& arguments);
  void read_words();

  Descriptor shared_;
  Board* board_ = nullptr;
  Descriptor life_here_;  ///< Its end tells the child that we are gone; see release.
  Descriptor words_here_;
  std::string words_;
  pid_t process_ = -1;
};

}  // namespace streamgate::executor::probe

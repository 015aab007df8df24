// SPDX-License-Identifier: Apache-2.0
//
// Runs another program to its end, which may be a signal or the guard's: for what dies, and for
// what must not. Started with posix_spawn; nothing here forks.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

extern char** environ;

namespace streamgate::testing {

struct ChildResult {
  int exit_code = -1;  ///< -1: ended by a signal.
  int signal = 0;      ///< 0: it exited.
  bool timed_out = false;
  std::string out{};
  std::string err{};
};

/// Runs `arguments[0]` with the others, and kills it when the guard is over. Blocks until it ended.
[[nodiscard]] inline ChildResult run_child(std::vector<std::string> arguments,
                                           std::chrono::milliseconds guard) {
  using Clock = std::chrono::steady_clock;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  std::array<std::array<int, 2>, 2> pipes{};  // Of stdout and stderr: read end, write end.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  for (std::size_t i = 0; i < pipes.size(); ++i) {
    if (pipe2(pipes[i].data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_adddup2(&actions, pipes[i][1], STDOUT_FILENO + static_cast<int>(i));
  }
  pid_t child = 0;
  const int failed = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  for (const auto& ends : pipes) close(ends[1]);

  ChildResult result;
  const Clock::time_point deadline = Clock::now() + guard;
  std::array<pollfd, 2> polled{pollfd{pipes[0][0], POLLIN, 0}, pollfd{pipes[1][0], POLLIN, 0}};
  const std::array<std::string*, 2> texts{&result.out, &result.err};
  while (failed == 0 && (polled[0].fd >= 0 || polled[1].fd >= 0)) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      result.timed_out = true;
      kill(child, SIGKILL);
      break;
    }
    if (poll(polled.data(), polled.size(), static_cast<int>(left.count())) < 0) continue;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      std::array<char, 4096> buffer{};
      const ssize_t bytes = read(polled[i].fd, buffer.data(), buffer.size());
      if (bytes > 0) {
        texts[i]->append(buffer.data(), static_cast<std::size_t>(bytes));
      } else {
        polled[i].fd = -1;
      }
    }
  }
  for (const auto& ends : pipes) close(ends[0]);
  if (failed != 0) throw std::runtime_error("cannot run " + arguments[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

}  // namespace streamgate::testing

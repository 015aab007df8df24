// SPDX-License-Identifier: Apache-2.0
#include "spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>

#include "../support/event.h"

extern char** environ;

namespace streamgate::testing {

Child::Child(const std::string& program, const std::vector<std::string>& arguments,
             const std::vector<std::pair<int, int>>& descriptors) {
  std::vector<std::string> strings{program};
  strings.insert(strings.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& string : strings) argv.push_back(string.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // First out of the way of each other's numbers.
  std::vector<executor::Descriptor> moved;
  for (const auto& [ours, theirs] : descriptors) {
    moved.emplace_back(fcntl(ours, F_DUPFD_CLOEXEC, 100));
    posix_spawn_file_actions_adddup2(&actions, moved.back().get(), theirs);
  }
  const int error = posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::system_error(error, std::generic_category(), program);
  pidfd_ = executor::Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
}

Child::~Child() {
  if (reaped_) return;
  signal(SIGKILL);
  wait();
}

void Child::signal(int number) const { kill(pid_, number); }

ChildEnd Child::wait() {
  if (reaped_) return end_;
  pollfd polled{pidfd_.get(), POLLIN, 0};
  const auto guard = std::chrono::milliseconds(kGuard);
  if (poll(&polled, 1, static_cast<int>(guard.count())) != 1) signal(SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  if (WIFEXITED(status)) end_.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end_.signal = WTERMSIG(status);
  return end_;
}

}  // namespace streamgate::testing

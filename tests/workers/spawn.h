// SPDX-License-Identifier: Apache-2.0
//
// Child processes for tests, by posix_spawn: with descriptors at chosen numbers, watched by a
// pidfd, and gone at the latest with their object.
#pragma once

#include <streamgate/executor/internal/descriptor.h>

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace streamgate::testing {

/// How a child ended: its exit code, or the signal that ended it.
struct ChildEnd {
  int exit_code = -1;
  int signal = 0;
};

class Child {
 public:
  /// `descriptors`: ours, and the number that the child has it under (3 or more).
  Child(const std::string& program, const std::vector<std::string>& arguments,
        const std::vector<std::pair<int, int>>& descriptors = {});
  /// Kills it if it is still there.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
  void signal(int number) const;
  /// Waits for its end; with the guard's passing it is killed, and that is what is returned.
  ChildEnd wait();

 private:
  pid_t pid_ = 0;
  executor::Descriptor pidfd_;
  bool reaped_ = false;
  ChildEnd end_;
};

}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// What this process holds of the system's, to be the same before and after.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <system_error>
#include <vector>

namespace streamgate::testing {

struct Held {
  std::size_t descriptors = 0;
  std::size_t mappings = 0;  ///< Of memory that a channel made.
  std::size_t threads = 0;
  bool children = false;
  friend bool operator==(const Held&, const Held&) = default;
};

inline std::ostream& operator<<(std::ostream& out, const Held& held) {
  return out << held.descriptors << " descriptors, " << held.mappings << " mappings, "
             << held.threads << " threads, " << (held.children ? "children" : "no child");
}

inline Held held() {
  const auto entries = [](const char* folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
  };
  Held now{.descriptors = entries("/proc/self/fd"), .threads = entries("/proc/self/task")};
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    now.mappings += line.find("memfd:streamgate") == line.npos ? 0 : 1;
  }
  siginfo_t info{};
  now.children = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
  return now;
}

/// The process ids of this process's children.
inline std::vector<pid_t> children() {
  std::vector<pid_t> all;
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
    std::ifstream list(thread.path() / "children");
    for (pid_t process = 0; list >> process;) all.push_back(process);
  }
  return all;
}

}  // namespace streamgate::testing

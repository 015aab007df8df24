// SPDX-License-Identifier: Apache-2.0
//
// What the operating system says of this process. Linux's /proc; elsewhere nothing is known.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <system_error>

namespace streamgate::testing {

/// The number of threads; nothing where that cannot be told.
inline std::optional<std::size_t> thread_count() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("Threads:", 0) == 0) return std::stoul(line.substr(8));
  }
  return std::nullopt;
}

/// The names of all threads; empty where that cannot be told.
inline std::multiset<std::string> thread_names() {
  std::multiset<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator thread("/proc/self/task", error), end;
       !error && thread != end; thread.increment(error)) {
    std::ifstream comm(thread->path() / "comm");
    std::string name;
    if (std::getline(comm, name)) names.insert(name);
  }
  return names;
}

/// How many threads have a name that begins so.
inline std::size_t threads_named(const std::string& prefix) {
  std::size_t count = 0;
  for (const std::string& name : thread_names()) {
    if (name.rfind(prefix, 0) == 0) ++count;
  }
  return count;
}

}  // namespace streamgate::testing

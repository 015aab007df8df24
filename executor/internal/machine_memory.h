// SPDX-License-Identifier: Apache-2.0
//
// The main memory that this process may have: the machine's, or what its control groups leave of
// it. For backends whose tasks run on the machine's own memory.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::executor {

/// Reads how the machine's memory stands.
///
/// Thread-safety: immutable, so thread-safe. Ownership: of some paths. Blocking: reads a few files
/// of the kernel's, some tens of microseconds. Failure: nothing where /proc is not Linux's; a
/// control group whose files cannot be read is taken for one without a bound.
///
///     const MachineMemory machine;
///     if (const auto memory = machine.now()) use(memory->free);
class MachineMemory {
 public:
  /// `root` stands before every path: a test's own files in place of the kernel's.
  explicit MachineMemory(std::filesystem::path root = "/");

  [[nodiscard]] std::optional<DeviceMemory> now() const noexcept;

 private:
  /// One control group's files: its bound, its use, and what of that the kernel would give back.
  struct Group {
    std::filesystem::path bound;
    std::filesystem::path used;
    std::filesystem::path statistics;
    std::string reclaimable;
  };
  void add_groups(const std::filesystem::path& mount, std::string path, const Group& names);
  [[nodiscard]] DeviceMemory read() const;

  std::filesystem::path root_;
  std::vector<Group> groups_;  ///< From this process's own up to the root.
};

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// /proc/meminfo, /proc/self/statm, and the memory controller of control groups, versions 1 and 2
// (proc(5), cgroups(7)). MemAvailable and not MemFree: the page cache gives way.
#include <streamgate/executor/internal/machine_memory.h>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <fstream>
#include <string_view>
#include <utility>

namespace streamgate::executor {
namespace {

std::optional<std::size_t> number(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return std::nullopt;
  text.remove_prefix(first);
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

std::string first_line(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

/// The number behind a word at the beginning of a line.
std::optional<std::size_t> value_of(const std::filesystem::path& file, std::string_view word) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(word)) return number(std::string_view(line).substr(word.size()));
  }
  return std::nullopt;
}

std::size_t left_of(std::size_t bytes, std::size_t by) { return bytes > by ? bytes - by : 0; }

}  // namespace

MachineMemory::MachineMemory(std::filesystem::path root) : root_(std::move(root)) {
  std::ifstream stream(root_ / "proc/self/cgroup");
  const std::filesystem::path mount = root_ / "sys/fs/cgroup";
  for (std::string line; std::getline(stream, line);) {
    // "0::/path" of version 2, "4:memory:/path" of version 1.
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      add_groups(mount, std::move(path),
                 {"memory.max", "memory.current", "memory.stat", "inactive_file "});
    } else if (controllers.find(",memory,") != controllers.npos) {
      add_groups(mount / "memory", std::move(path),
                 {"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat",
                  "total_inactive_file "});
    }
  }
}

void MachineMemory::add_groups(const std::filesystem::path& mount, std::string path,
                               const Group& names) {
  // A bound further up holds as well. In a container the path may be the host's, and not be there.
  for (;;) {
    const std::filesystem::path folder = mount / std::filesystem::path(path).relative_path();
    groups_.push_back(
        {folder / names.bound, folder / names.used, folder / names.statistics, names.reclaimable});
    const std::size_t slash = path.rfind('/');
    if (slash == path.npos || path == "/") break;
    path.resize(std::max<std::size_t>(1, slash));
  }
}

std::optional<DeviceMemory> MachineMemory::now() const noexcept {
  try {
    const DeviceMemory memory = read();
    if (memory.total == 0) return std::nullopt;
    return memory;
  } catch (const std::exception&) {
    return std::nullopt;  // No memory to read a line into: nothing is known.
  }
}

DeviceMemory MachineMemory::read() const {
  constexpr std::size_t kKilobyte = 1024;
  const std::filesystem::path meminfo = root_ / "proc/meminfo";
  DeviceMemory memory;
  memory.total = value_of(meminfo, "MemTotal:").value_or(0) * kKilobyte;
  memory.free = value_of(meminfo, "MemAvailable:").value_or(0) * kKilobyte;
  const std::size_t machine = memory.total;
  for (const Group& group : groups_) {
    // "max" is no number, and version 1 says a number beyond all memory: neither bounds. A group
    // with a larger bound than its child's still counts: its other children may have left less.
    const auto bound = number(first_line(group.bound));
    if (!bound || *bound >= machine) continue;
    const std::size_t used = number(first_line(group.used)).value_or(0);
    const std::size_t back = value_of(group.statistics, group.reclaimable).value_or(0);
    memory.total = std::min(memory.total, *bound);
    memory.free = std::min(memory.free, left_of(*bound, left_of(used, back)));
  }
  // "size resident shared ...", in pages.
  const std::string statm = first_line(root_ / "proc/self/statm");
  const std::size_t space = statm.find(' ');
  if (space != statm.npos) {
    memory.held = number(std::string_view(statm).substr(space)).value_or(0) *
                  static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  }
  return memory;
}

}  // namespace streamgate::executor

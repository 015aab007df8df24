// SPDX-License-Identifier: Apache-2.0
#include "doctor/machine.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#if defined(__linux__)
#include <sched.h>
#endif

namespace streamgate::tools {
namespace {

namespace fs = std::filesystem;

/// "150000 100000", as cgroup v2 has it; "max 100000" is no quota.
std::optional<double> quota_v2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0;
  double period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

/// The same in two files; -1 is no quota.
std::optional<double> quota_v1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us");
  std::ifstream period_file(group / "cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  return quota / period;
}

}  // namespace

std::optional<double> cpu_quota(const fs::path& root) {
  std::optional<double> least;
  std::ifstream groups(root / "proc/self/cgroup");
  // "0::/user.slice/x" is version 2, "4:cpu,cpuacct:/x" is version 1.
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = ',' + line.substr(first + 1, second - first - 1) + ',';
    const bool is_v2 = controllers == ",,";
    if (!is_v2 && controllers.find(",cpu,") == controllers.npos) continue;
    const fs::path mount = root / "sys/fs/cgroup" / (is_v2 ? "" : "cpu");
    // In a container the path may be the host's, which is not to be seen: its own is the mount.
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    for (;; group = group.parent_path()) {
      const auto quota = is_v2 ? quota_v2(mount / group) : quota_v1(mount / group);
      if (quota) least = std::min(least.value_or(*quota), *quota);
      if (group.empty()) break;
    }
  }
  return least;
}

MachineFacts find_machine() {
  MachineFacts machine;
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  machine.cores = online > 0 ? static_cast<std::size_t>(online) : 1;
  machine.usable_cores = machine.cores;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    machine.usable_cores = static_cast<std::size_t>(CPU_COUNT(&set));
  }
#endif
  machine.cpu_quota_cores = cpu_quota();
  return machine;
}

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// The machine's memory as the kernel tells it, from files of the test's own, and of this machine.
#include <streamgate/executor/internal/machine_memory.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>

#include "../support/temporary_folder.h"

namespace streamgate::executor {
namespace {

using testing::TemporaryFolder;

constexpr std::size_t kKilobyte = 1024;

/// A machine of 8,000 KB with 5,000 KB to be had, of which this process has ten pages.
void write_machine(const TemporaryFolder& root) {
  root.write("proc/meminfo",
             "MemTotal:        8000 kB\nMemFree:  1000 kB\nMemAvailable:  5000 kB\n");
  root.write("proc/self/statm", "100 10 5 1 0 7 0\n");
}

TEST(MachineMemory, IsTheMachinesWithoutABound) {
  const TemporaryFolder root;
  write_machine(root);
  root.write("proc/self/cgroup", "0::/service\n");
  root.write("sys/fs/cgroup/service/memory.max", "max\n");
  const auto memory = MachineMemory(root.path()).now();
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->total, 8000 * kKilobyte);
  EXPECT_EQ(memory->free, 5000 * kKilobyte);
  EXPECT_EQ(memory->held, 10U * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
}

TEST(MachineMemory, IsWhatTheTightestControlGroupLeaves) {
  const TemporaryFolder root;
  write_machine(root);
  root.write("proc/self/cgroup", "0::/slice/service\n");
  root.write("sys/fs/cgroup/slice/service/memory.max", "3000000\n");
  root.write("sys/fs/cgroup/slice/service/memory.current", "1000000\n");
  root.write("sys/fs/cgroup/slice/service/memory.stat", "anon 1\ninactive_file 400000\n");
  root.write("sys/fs/cgroup/slice/memory.max", "2000000\n");
  root.write("sys/fs/cgroup/slice/memory.current", "1500000\n");
  root.write("sys/fs/cgroup/slice/memory.stat", "inactive_file 0\n");
  const auto memory = MachineMemory(root.path()).now();
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->total, 2'000'000U);
  EXPECT_EQ(memory->free, 500'000U);
}

TEST(MachineMemory, CountsWhatTheSiblingsInALargerGroupHaveTaken) {
  const TemporaryFolder root;
  write_machine(root);
  root.write("proc/self/cgroup", "0::/slice/service\n");
  root.write("sys/fs/cgroup/slice/service/memory.max", "3000000\n");
  root.write("sys/fs/cgroup/slice/service/memory.current", "100000\n");
  root.write("sys/fs/cgroup/slice/memory.max", "6000000\n");
  root.write("sys/fs/cgroup/slice/memory.current", "5800000\n");
  const auto memory = MachineMemory(root.path()).now();
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->total, 3'000'000U);
  EXPECT_EQ(memory->free, 200'000U);
}

TEST(MachineMemory, KnowsTheFirstVersionOfControlGroups) {
  const TemporaryFolder root;
  write_machine(root);
  root.write("proc/self/cgroup", "5:devices:/\n4:memory:/service\n0::/\n");
  root.write("sys/fs/cgroup/memory/service/memory.limit_in_bytes", "3000000\n");
  root.write("sys/fs/cgroup/memory/service/memory.usage_in_bytes", "1000000\n");
  root.write("sys/fs/cgroup/memory/service/memory.stat",
             "inactive_file 1\ntotal_inactive_file 300000\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  const auto memory = MachineMemory(root.path()).now();
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->total, 3'000'000U);
  EXPECT_EQ(memory->free, 2'300'000U);
}

TEST(MachineMemory, AGroupThatUsesMoreThanItsBoundLeavesNothing) {
  const TemporaryFolder root;
  write_machine(root);
  root.write("proc/self/cgroup", "0::/\n");
  root.write("sys/fs/cgroup/memory.max", "1000\n");
  root.write("sys/fs/cgroup/memory.current", "5000\n");
  EXPECT_EQ(MachineMemory(root.path()).now()->free, 0U);
}

TEST(MachineMemory, IsUnknownWhereTheKernelSaysNothing) {
  const TemporaryFolder root;
  EXPECT_FALSE(MachineMemory(root.path()).now().has_value());
  root.write("proc/meminfo", "MemTotal: rubbish\n");
  EXPECT_FALSE(MachineMemory(root.path()).now().has_value());
}

TEST(MachineMemory, OfThisMachineIsPlausible) {
  const auto memory = MachineMemory().now();
#ifdef __linux__
  ASSERT_TRUE(memory.has_value());
  EXPECT_GT(memory->free, 0U);
  EXPECT_LE(memory->free, memory->total);
  EXPECT_GT(memory->held, 0U);
#else
  EXPECT_FALSE(memory.has_value());
#endif
}

}  // namespace
}  // namespace streamgate::executor

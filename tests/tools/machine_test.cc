// SPDX-License-Identifier: Apache-2.0
//
// CPU quotas as the kernel tells them, read from a made-up file system.
#include "../support/temporary_folder.h"
#include "doctor/machine.h"

#include <gtest/gtest.h>


namespace streamgate::tools {
namespace {

using testing::TemporaryFolder;

TEST(CpuQuota, NoneWhereThereAreNoControlGroups) {
  const TemporaryFolder root;
  EXPECT_EQ(cpu_quota(root.path()), std::nullopt);
}

TEST(CpuQuota, NoneWhereNoneIsSet) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/service\n");
  root.write("sys/fs/cgroup/service/cpu.max", "max 100000\n");
  EXPECT_EQ(cpu_quota(root.path()), std::nullopt);
}

TEST(CpuQuota, IsTheLeastOfTheGroupAndThoseAboveIt) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/slice/service\n");
  root.write("sys/fs/cgroup/slice/service/cpu.max", "400000 100000\n");
  root.write("sys/fs/cgroup/slice/cpu.max", "150000 100000\n");
  EXPECT_EQ(cpu_quota(root.path()), 1.5);
}

TEST(CpuQuota, OfAContainerIsAtItsMountWhenThePathIsTheHosts) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/docker/0123abc\n");
  root.write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(cpu_quota(root.path()), 0.5);
}

TEST(CpuQuota, IsReadFromVersionOneToo) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/service\n0::/\n");
  root.write("sys/fs/cgroup/cpu/service/cpu.cfs_quota_us", "300000\n");
  root.write("sys/fs/cgroup/cpu/service/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(root.path()), 3.0);
}

TEST(CpuQuota, IgnoresWhatIsNoNumber) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "nonsense\n0::/service\n");
  root.write("sys/fs/cgroup/service/cpu.max", "0 0\n");
  EXPECT_EQ(cpu_quota(root.path()), std::nullopt);
}

TEST(Machine, HasAtLeastTheCoreThatThisRunsOn) {
  const MachineFacts machine = find_machine();
  EXPECT_GE(machine.cores, 1U);
  EXPECT_GE(machine.usable_cores, 1U);
  EXPECT_LE(machine.usable_cores, machine.cores);
}

}  // namespace
}  // namespace streamgate::tools

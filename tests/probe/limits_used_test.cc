// SPDX-License-Identifier: Apache-2.0
//
// The way from `streamgate probe` to an executor: the limits file that the real binary wrote is in
// force on the device it was measured on, and on no other.
#include <streamgate/executor.h>
#include <streamgate/policies/op_class.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "probe_command.h"

namespace streamgate::testing {
namespace {

using executor::LimitsState;
using policies::index_of;
using policies::OpClass;

constexpr const char* kModel = R"toml([class.kernel]
safe_threads = 2
fault = "segv"
[class.graph]
safe_threads = 1
fault = "abort"
[[incompatible]]
classes = ["kernel", "raw"]
fault = "corrupt"
[device]
execute_us = 50
)toml";

TEST(ProbedLimits, LongAreTheCeilingsOfAnExecutorOnTheSameDeviceOnly) {
  const TemporaryFolder folder;
  const std::string model = folder.write("model.toml", kModel).string();
  const std::string limits = (folder.path() / "limits.toml").string();
  const ChildResult run = probe({"--backend", "emulator", "--fault-model", model, "--max-threads",
                                 "3", "--out", limits});
  ASSERT_EQ(run.exit_code, 0) << run.err;

  Config config;
  config.executor.backend = "emulator";
  config.executor.threads = 2;
  config.emulator.fault_model = model;
  config.limits.file = limits;
  {
    Executor executor({.config = config});
    const executor::Snapshot now = executor.snapshot();
    EXPECT_EQ(now.limits.state, LimitsState::kUsed);
    EXPECT_EQ(now.gates[index_of(OpClass::kRaw)].ceiling, 3U);
    EXPECT_EQ(now.gates[index_of(OpClass::kKernel)].ceiling, 2U);
    EXPECT_EQ(now.gates[index_of(OpClass::kGraph)].ceiling, 1U);
    EXPECT_EQ(now.gates[index_of(OpClass::kExclusive)].ceiling, 1U);
    EXPECT_TRUE(executor.submit({.op_class = OpClass::kKernel}, [] {}).get());
  }
  config.emulator.fault_model = "seeds-graphpath";
  const Executor elsewhere({.config = config});
  const executor::Snapshot now = elsewhere.snapshot();
  EXPECT_EQ(now.limits.state, LimitsState::kMismatch);
  EXPECT_EQ(now.gates[index_of(OpClass::kKernel)].ceiling, 1U);
}

}  // namespace
}  // namespace streamgate::testing

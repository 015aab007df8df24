// SPDX-License-Identifier: Apache-2.0
//
// What an executor does with measured limits: they are its ceilings where they hold, the config may
// only lower them, and where they do not hold it falls back to one at a time and says so.
#include <streamgate/executor.h>
#include <streamgate/policies/limits_file.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/executors.h"
#include "../support/messages.h"
#include "../support/test_device.h"

namespace streamgate::executor {
namespace {

using policies::ClassLimits;
using policies::index_of;
using policies::Limits;
using policies::LimitsError;
using testing::Blocker;
using testing::drain_all;
using testing::expect_named;
using testing::inline_config;
using testing::TestBackend;
using testing::TestDevice;
using testing::with_gate;

/// The test device on this machine, with kernel 2, graph 3 and both exclusive of each other.
Limits measured_here() {
  return {.provenance = TestDevice().provenance,
          .classes = {ClassLimits{.op_class = OpClass::kRaw, .ceiling = 8, .knee = 5},
                      ClassLimits{.op_class = OpClass::kKernel, .ceiling = 2},
                      ClassLimits{.op_class = OpClass::kGraph, .ceiling = 4, .knee = 3}},
          .incompatible = {{OpClass::kKernel, OpClass::kGraph}}};
}

/// A limits file of this test's, removed at its end, and executors that are to use it.
class LimitsFile {
 public:
  explicit LimitsFile(const Limits& limits = measured_here()) { save_limits(limits, path_); }
  explicit LimitsFile(std::string_view text) { std::ofstream(path_) << text; }
  ~LimitsFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  LimitsFile(const LimitsFile&) = delete;
  LimitsFile& operator=(const LimitsFile&) = delete;

  [[nodiscard]] Config config() const {
    Config config = inline_config(2);
    config.executor.backend = "test";  // The executor's word for TestBackend.
    config.limits.file = path_.string();
    return config;
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() /
      ("streamgate_limits_" + std::to_string(::getpid()) + "_" +
       std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".toml");
};

/// A device that does not share the cores, as every real one.
std::shared_ptr<TestDevice> device() {
  auto device = std::make_shared<TestDevice>();
  device->shares_cores = false;
  return device;
}

ExecutorOptions options(const Config& config, std::shared_ptr<TestDevice> on = device()) {
  return {.config = config, .backend = std::make_unique<TestBackend>(std::move(on))};
}

GateSnapshot gate(const Executor& executor, OpClass op_class) {
  return executor.snapshot().gates[index_of(op_class)];
}

void expect_width(const Executor& executor, OpClass op_class, std::size_t limit,
                  std::size_t ceiling) {
  EXPECT_EQ(gate(executor, op_class).limit, limit) << to_string(op_class);
  EXPECT_EQ(gate(executor, op_class).ceiling, ceiling) << to_string(op_class);
}

/// What the constructor says; empty when it is content.
template <typename Error>
std::string refusal_of(const Config& config, std::shared_ptr<TestDevice> on = device()) {
  try {
    const Executor executor(options(config, std::move(on)));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// What an executor of these options writes to stderr while it is made.
std::string log_of(ExecutorOptions with) {
  ::testing::internal::CaptureStderr();
  { const Executor executor(std::move(with)); }
  return ::testing::internal::GetCapturedStderr();
}

// ---- limits that hold ----

TEST(ExecutorLimits, MeasuredCeilingsAndKneesAreTheGates) {
  const LimitsFile file;
  const Executor executor(options(file.config()));
  expect_width(executor, OpClass::kRaw, 5, 8);
  expect_width(executor, OpClass::kKernel, 2, 2);
  expect_width(executor, OpClass::kGraph, 3, 4);
  expect_width(executor, OpClass::kExclusive, 1, 1);
  EXPECT_EQ(executor.snapshot().limits.state, LimitsState::kUsed);
  EXPECT_EQ(executor.snapshot().limits.file, file.path().string());
  EXPECT_TRUE(executor.snapshot().limits.differences.empty());
}

TEST(ExecutorLimits, ThatHoldAreNotWorthALine) {
  const LimitsFile file;
  EXPECT_EQ(log_of(options(file.config())), "");
}

TEST(ExecutorLimits, ClassesMeasuredAsIncompatibleNeverRunTogether) {
  const LimitsFile file;
  Executor executor(options(file.config()));
  Blocker kernel(executor, {.op_class = OpClass::kKernel});
  auto graph = executor.submit({.op_class = OpClass::kGraph}, [] {});
  // Its gate alone would let it in; raw work passes, so a worker was there to take it.
  EXPECT_TRUE(executor.submit({.op_class = OpClass::kRaw}, [] {}).get());
  EXPECT_FALSE(graph.ready());
  kernel.end();
  EXPECT_TRUE(graph.get());
  drain_all(executor);
}

TEST(ExecutorLimits, ConfigMayLowerAMeasuredCeiling) {
  const LimitsFile file;
  const Executor executor(options(with_gate(file.config(), OpClass::kGraph, 0, 2)));
  expect_width(executor, OpClass::kGraph, 2, 2);  // The knee of 3 is above it.
}

TEST(ExecutorLimits, LimitOfTheConfigGoesBeforeTheKnee) {
  const LimitsFile file;
  const Executor executor(options(with_gate(file.config(), OpClass::kGraph, 4, 0)));
  expect_width(executor, OpClass::kGraph, 4, 4);
}

TEST(ExecutorLimits, ConfigNeverRaisesAMeasuredCeiling) {
  const LimitsFile file;
  const auto untouched = [&](OpClass op_class, std::size_t limit, std::size_t ceiling) {
    return refusal_of<std::invalid_argument>(with_gate(file.config(), op_class, limit, ceiling));
  };
  expect_named(untouched(OpClass::kGraph, 0, 5),
               {"gate.graph.ceiling = 5", "ceiling of 4", file.path().string()});
  expect_named(untouched(OpClass::kRaw, 0, 9), {"gate.raw.ceiling = 9", "ceiling of 8"});
  expect_named(untouched(OpClass::kKernel, 3, 0), {"gate.kernel.limit = 3", "ceiling of 2"});
  EXPECT_EQ(untouched(OpClass::kGraph, 4, 4), "");
}

TEST(ExecutorLimits, ClassThatWasNotMeasuredIsAsWithoutAFile) {
  Limits limits = measured_here();
  limits.classes.resize(1);
  const LimitsFile file(limits);
  const Executor executor(options(file.config()));
  expect_width(executor, OpClass::kRaw, 5, 8);
  expect_width(executor, OpClass::kGraph, 1, 1);
}

TEST(ExecutorLimits, ExclusiveStaysAloneWhateverWasMeasured) {
  Limits limits = measured_here();
  limits.classes.push_back({.op_class = OpClass::kExclusive, .ceiling = 6, .knee = 6});
  const LimitsFile file(limits);
  const Executor executor(options(file.config()));
  expect_width(executor, OpClass::kExclusive, 1, 1);
  EXPECT_EQ(executor.config().gates[index_of(OpClass::kExclusive)].ceiling, 1U);
}

TEST(ExecutorLimits, ProvenanceIsAskedOfTheInitialisedDevice) {
  // TestBackend knows its device only once it is initialised.
  const LimitsFile file;
  const auto on = device();
  const Executor executor(options(file.config(), on));
  EXPECT_EQ(on->initialised, 1U);
  EXPECT_EQ(executor.snapshot().limits.state, LimitsState::kUsed);
}

// ---- limits that do not hold ----

TEST(ExecutorLimits, OfAnotherBuildOfLibtorchAreNotUsed) {
  Limits limits = measured_here();
  limits.provenance.libtorch = "2.6.0 (build 1a2b3c4d5e6f)";
  const LimitsFile file(limits);
  const auto on = device();
  on->provenance.libtorch = "2.6.0 (build 6f5e4d3c2b1a)";
  const Executor executor(options(file.config(), on));
  for (const OpClass op_class : {OpClass::kKernel, OpClass::kGraph, OpClass::kExclusive}) {
    expect_width(executor, op_class, 1, 1);
  }
  EXPECT_EQ(gate(executor, OpClass::kRaw).ceiling, executor.config().executor.streams);
  const Snapshot::Limits state = executor.snapshot().limits;
  EXPECT_EQ(state.state, LimitsState::kMismatch);
  EXPECT_EQ(state.differences,
            std::vector<std::string>{"libtorch 2.6.0 (build 1a2b3c4d5e6f) there, 2.6.0 (build "
                                     "6f5e4d3c2b1a) here"});
}

TEST(ExecutorLimits, OfAnotherMachineHoldEvenWhatTheConfigSaysAtOne) {
  Limits limits = measured_here();
  limits.provenance.device = "M4";
  const LimitsFile file(limits);
  Config config = with_gate(file.config(), OpClass::kGraph, 3, 4);
  Executor executor(options(with_gate(config, OpClass::kRaw, 6, 7)));
  expect_width(executor, OpClass::kGraph, 1, 1);
  expect_width(executor, OpClass::kRaw, 6, 7);
  // Incompatible there says nothing of here; one at a time holds anyway.
  EXPECT_TRUE(executor.submit({.op_class = OpClass::kGraph}, [] {}).get());
  // The same config again brings nothing back, now or on a restart.
  EXPECT_TRUE(executor.apply(with_gate(config, OpClass::kRaw, 6, 7)).empty());
  expect_width(executor, OpClass::kGraph, 1, 1);
}

TEST(ExecutorLimits, ThatDoNotHoldAreSaidInOneLineWithTheRemedy) {
  Limits limits = measured_here();
  limits.provenance.device = "M4";
  limits.provenance.os = "Darwin 25";
  const LimitsFile file(limits);
  const std::string log = log_of(options(file.config()));
  expect_named(log, {"streamgate: ", file.path().string(), "device M4 there, none here",
                     "os Darwin 25 there, unknown here", "streamgate probe --backend test"});
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
}

TEST(ExecutorLimits, AbsenceIsSaidInOneLineWhereItMattersOnly) {
  const std::string log = log_of(options(inline_config(2)));
  expect_named(log, {"no limits were measured", "streamgate probe --backend test"});
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;

  const auto cores = std::make_shared<TestDevice>();  // As the CPU.
  EXPECT_EQ(log_of(options(inline_config(2), cores)), "");
  EXPECT_FALSE(Executor(options(inline_config(2), cores)).snapshot().limits.needed);
}

TEST(ExecutorLimits, WithoutAFileTheConfigsCeilingsStand) {
  const Executor executor(options(with_gate(inline_config(2), OpClass::kGraph, 2, 3)));
  expect_width(executor, OpClass::kGraph, 2, 3);
  expect_width(executor, OpClass::kKernel, 1, 1);
  EXPECT_EQ(executor.snapshot().limits.state, LimitsState::kNone);
  EXPECT_TRUE(executor.snapshot().limits.needed);
}

// ---- files that cannot be used ----

TEST(ExecutorLimits, FileThatCannotBeUsedIsNoExecutorAndTouchesNoDevice) {
  const auto on = device();
  const LimitsFile broken("[[classes]]\nclass = \"graph\"\nceiling = 0\n");
  expect_named(refusal_of<LimitsError>(broken.config(), on),
               {broken.path().string() + ":3: classes.ceiling = 0 is out of range"});
  Config absent = inline_config(2);
  absent.limits.file = "no/such/limits.toml";
  expect_named(refusal_of<LimitsError>(absent, on), {"no/such/limits.toml: cannot be read: "});
  EXPECT_EQ(on->initialised, 0U);
  EXPECT_EQ(on->destroyed, 2U);
}

// ---- while it works ----

TEST(ExecutorLimits, ReloadKeepsTheKneeAndRefusesACeilingAboveTheMeasuredOne) {
  const LimitsFile file;
  Executor executor(options(file.config()));
  EXPECT_EQ(executor.set_limit(OpClass::kGraph, 1), 1U);
  EXPECT_TRUE(executor.apply(with_gate(file.config(), OpClass::kGraph, 4, 0)).empty());
  expect_width(executor, OpClass::kGraph, 4, 4);
  EXPECT_TRUE(executor.apply(file.config()).empty());
  expect_width(executor, OpClass::kGraph, 3, 4);
  try {
    (void)executor.apply(with_gate(file.config(), OpClass::kGraph, 0, 5));
    ADD_FAILURE() << "a ceiling above the measured one was taken";
  } catch (const std::invalid_argument& error) {
    expect_named(error.what(), {"gate.graph.ceiling = 5", "ceiling of 4"});
  }
  expect_width(executor, OpClass::kGraph, 3, 4);
}

TEST(ExecutorLimits, AnotherFileWaitsForARestart) {
  const LimitsFile file;
  Executor executor(options(file.config()));
  Config other = with_gate(file.config(), OpClass::kGraph, 0, 9);
  other.limits.file = "elsewhere.toml";
  EXPECT_EQ(executor.apply(other),
            (std::vector<std::string_view>{"gate.graph.ceiling", "limits.file"}));
  EXPECT_EQ(executor.snapshot().limits.file, file.path().string());
}

TEST(ExecutorLimits, NoLimitPolicyOrOperatorPassesAMeasuredCeiling) {
  const LimitsFile file;
  Executor executor(options(file.config()));
  EXPECT_EQ(executor.set_limit(OpClass::kGraph, 1'000), 4U);
  expect_width(executor, OpClass::kGraph, 4, 4);
}

}  // namespace
}  // namespace streamgate::executor

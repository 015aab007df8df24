// SPDX-License-Identifier: Apache-2.0
//
// A million mixed tasks through the executor on each shipped fault model: nobody dies, nothing is
// wrong, and the device is used as widely as it is safe. Without the gate the same program dies.
#include <streamgate/policies/op_class.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <regex>
#include <string>
#include <string_view>

#include "../support/child_process.h"

namespace streamgate::testing {
namespace {

using namespace std::chrono_literals;
using policies::FaultModel;
using policies::OpClass;

/// AddressSanitizer takes its time and looks for something else.
constexpr bool kShort = std::string_view(STREAMGATE_TEST_SANITIZER).starts_with("address");
const std::string kTasks = kShort ? "50000" : "1000000";
const std::string kFewTasks = "20000";

/// "width graph 1.234 of 2", as a share of the ceiling.
std::optional<double> share_of_ceiling(const std::string& output, OpClass op_class) {
  std::smatch found;
  const std::regex line("width " + std::string(to_string(op_class)) + " ([0-9.]+) of ([0-9]+)");
  if (!std::regex_search(output, found, line)) return std::nullopt;
  return std::stod(found[1]) / std::stod(found[2]);
}

/// Most of the time at the ceiling, on a machine whose 2 cores may have other work too: what is
/// lost is the time from a permit given back to the next task's encode.
void expect_saturated(const std::string& output, const FaultModel& model) {
  for (const OpClass c : {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph}) {
    // A class without a safe width shares it with composites that wait for the one that has one.
    if (c != OpClass::kRaw && !model.classes[policies::index_of(c)].safe_threads) continue;
    const std::optional<double> share = share_of_ceiling(output, c);
    ASSERT_TRUE(share.has_value()) << output;
    EXPECT_GT(*share, 0.5) << to_string(c);
    EXPECT_LE(*share, 1.01) << to_string(c);
  }
}

TEST(EmulatorMix, GatedTasksAreRightOnEveryShippedFaultModel) {
  for (const policies::ShippedFaultModel& shipped : policies::shipped_fault_models()) {
    const ChildResult result =
        run_child({STREAMGATE_EMULATOR_MIX, std::string(shipped.name), kFewTasks}, 60s);
    EXPECT_EQ(result.exit_code, 0) << shipped.name << ": signal " << result.signal << result.err;
    EXPECT_NE(result.out.find(": " + kFewTasks + " right, 0 wrong"), std::string::npos)
        << result.out;
  }
}

TEST(EmulatorMix, WithoutTheGateTheSameProgramDiesOnEveryShippedFaultModel) {
  for (const policies::ShippedFaultModel& shipped : policies::shipped_fault_models()) {
    const bool hangs = shipped.name == "hanging";
    const ChildResult result =
        run_child({STREAMGATE_EMULATOR_MIX, std::string(shipped.name), kFewTasks, "--without-gate"},
                  hangs ? 5s : 60s);
    const bool died = result.signal != 0 && !result.timed_out;
    const bool wrong = result.exit_code == 3;
    EXPECT_TRUE(hangs                          ? result.timed_out
                : shipped.name == "corrupting" ? wrong
                                               : died)
        << shipped.name << ": exit " << result.exit_code << ", signal " << result.signal
        << result.out << result.err;
  }
}

TEST(EmulatorMix, LongMillionOfTasksOnEachFaultModelWithNoDeathAndNoWrongResultAtTheCeilings) {
  for (const policies::ShippedFaultModel& shipped : policies::shipped_fault_models()) {
    const ChildResult result =
        run_child({STREAMGATE_EMULATOR_MIX, std::string(shipped.name), kTasks}, 140s);
    EXPECT_EQ(result.exit_code, 0) << shipped.name << ": signal " << result.signal << result.err;
    EXPECT_NE(result.out.find(": " + kTasks + " right, 0 wrong"), std::string::npos) << result.out;
    expect_saturated(result.out, policies::parse_fault_model(shipped.toml, shipped.name));
    std::cout << result.out;
  }
}

}  // namespace
}  // namespace streamgate::testing

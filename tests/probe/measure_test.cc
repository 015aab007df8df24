// SPDX-License-Identifier: Apache-2.0
//
// `streamgate probe`, the real binary with its real child processes, on emulated devices that
// really die: it finds what the fault model says.
#include <streamgate/policies/fault_model.h>
#include <streamgate/policies/limits_file.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>

#include "probe_command.h"

namespace streamgate::testing {
namespace {

using policies::Fault;
using policies::index_of;
using policies::OpClass;

/// The contract with other programs; more keys are fine.
void expect_keys(const Json& report) {
  for (const char* key : {"provenance", "classes", "incompatible", "overflow"}) {
    EXPECT_TRUE(report.contains(key)) << key;
  }
  for (const Json& of : report.at("classes")) {
    for (const char* key : {"class", "ceiling", "first_failure", "failure", "trials", "failures",
                            "failure_probability_upper", "knee", "throughput", "evidence"}) {
      EXPECT_TRUE(of.contains(key)) << key;
    }
    EXPECT_FALSE(of.at("operation").get<std::string>().empty());
    EXPECT_GT(of.at("trials"), 299);
    EXPECT_LE(of.at("failure_probability_upper"), 0.01);
    EXPECT_EQ(of.at("throughput").size(), of.at("ceiling"));
    for (const Json& at : of.at("throughput")) {
      EXPECT_GE(at.at("threads"), 1);
      EXPECT_GT(at.at("per_second"), 0);
    }
  }
}

TEST(ProbeMeasures, SafeWidthsFailuresAndPairsOfAModelExactly) {
  const TemporaryFolder folder;
  policies::FaultModel model;
  model.classes[index_of(OpClass::kRaw)] = {.safe_threads = 3, .rule = {.fault = Fault::kCorrupt}};
  model.classes[index_of(OpClass::kKernel)] = {.safe_threads = 2, .rule = {.fault = Fault::kSegv}};
  model.classes[index_of(OpClass::kGraph)] = {.safe_threads = 1, .rule = {.fault = Fault::kAbort}};
  model.incompatible = {
      {.a = OpClass::kGraph, .b = OpClass::kRaw, .rule = {.fault = Fault::kAbort}}};
  model.device.execute = std::chrono::microseconds(50);  // It ends when all is known.
  const auto file = folder.write("model.toml", print_fault_model(model));
  const Probed measured = probed(file, {"--max-threads", "4", "--workers", "0"});
  expect_recovered(measured, model, 4);
  expect_keys(measured.report);
  EXPECT_TRUE(measured.report.at("overflow").is_null()) << "it was not asked for";

  // The evidence says what died, where, and in whose words.
  const Json& aborted = measured.of("graph").at("evidence").at(0);
  EXPECT_EQ(aborted.at("failure"), "SIGABRT");
  EXPECT_EQ(aborted.at("class"), "graph");
  EXPECT_EQ(aborted.at("operation"), "aten::mm");
  EXPECT_GE(aborted.at("iteration"), 1);
  EXPECT_GE(aborted.at("thread"), 1);
  EXPECT_NE(aborted.at("text").get<std::string>().find("failed assertion"), std::string::npos)
      << aborted.at("text");
}

TEST(ProbeMeasures, WhatWorkersBringToADeviceThatIsNarrowAndWritesIt) {
  const TemporaryFolder folder;
  policies::FaultModel model;
  model.classes[index_of(OpClass::kKernel)] = {.safe_threads = 2, .rule = {.fault = Fault::kAbort}};
  // The device's time uses no core: what is measured is that each process has a width of its own.
  model.device.execute = std::chrono::milliseconds(10);
  const auto file = folder.write("model.toml", print_fault_model(model));
  const std::string out = (folder.path() / "limits.toml").string();
  const Probed measured = probed(
      file, {"--max-threads", "3", "--workers", "4", "--budget-seconds", "40", "--out", out});
  ASSERT_EQ(measured.run.exit_code, 0) << measured.run.err;
  const Json& overflow = measured.report.at("overflow");
  ASSERT_TRUE(overflow.is_object()) << measured.run.err;
  EXPECT_EQ(overflow.at("workers"), 4);
  EXPECT_EQ(overflow.at("class"), "kernel");
  EXPECT_NEAR(overflow.at("gain").get<double>(), (2 + 4) / 2.0, 0.9);
  const auto written = policies::load_limits(out).overflow;
  ASSERT_TRUE(written);
  EXPECT_EQ(written->workers, 4U);
  EXPECT_EQ(written->gain, overflow.at("gain").get<double>());
}

TEST(ProbeMeasures, LongHangIsNamedAndEndsInTime) {
  const TemporaryFolder folder;
  policies::FaultModel model;
  model.classes[index_of(OpClass::kKernel)] = {.safe_threads = 2, .rule = {.fault = Fault::kHang}};
  const auto file = folder.write("model.toml", print_fault_model(model));
  const Probed measured = probed(file, {"--max-threads", "4"});
  expect_recovered(measured, model, 4);
  EXPECT_LT(measured.report.at("elapsed_s"), 62);
}

TEST(ProbeMeasures, LongDeviceThatNeverFailsAndWritesTheLimitsFile) {
  const TemporaryFolder folder;
  const std::string out = (folder.path() / "limits.toml").string();
  const Probed measured =
      probed("", {"--max-threads", "3", "--budget-seconds", "30", "--out", out});
  expect_recovered(measured, policies::FaultModel{}, 3);
  const policies::Limits limits = policies::load_limits(out);
  ASSERT_EQ(limits.classes.size(), 3U);
  EXPECT_EQ(limits.provenance.backend, "emulator");
  EXPECT_EQ(limits.provenance.device,
            measured.report.at("provenance").at("device").get<std::string>());
  for (const policies::ClassLimits& of : limits.classes) {
    const Json& json = measured.of(std::string(to_string(of.op_class)));
    EXPECT_EQ(of.ceiling, json.at("ceiling"));
    EXPECT_EQ(of.trials, json.at("trials"));
    EXPECT_EQ(of.knee, json.at("knee").get<std::size_t>());
    EXPECT_EQ(of.throughput.size(), 3U);
  }
  EXPECT_TRUE(limits.incompatible.empty());
}

TEST(ProbeMeasures, LongTheKneeOfTheCpu) {
  const ChildResult run =
      probe({"--backend", "cpu", "--max-threads", "2", "--budget-seconds", "20", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const Json report = Json::parse(run.out, nullptr, false);
  ASSERT_TRUE(report.is_object()) << run.out << run.err;
  ASSERT_EQ(report.at("classes").size(), 1U);
  const Json& raw = report.at("classes").at(0);
  EXPECT_EQ(raw.at("class"), "raw");
  EXPECT_EQ(raw.at("ceiling"), 2);
  EXPECT_TRUE(raw.at("failure").is_null());
  EXPECT_GE(raw.at("knee"), 1);
  EXPECT_EQ(raw.at("throughput").size(), 2U);
}

TEST(ProbeMeasures, LongTableForPeopleNamesClassesAndFailures) {
  const ChildResult run =
      probe({"--backend", "emulator", "--fault-model", "seeds-nograph", "--max-threads", "3"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  for (const char* word : {"raw", "kernel", "graph", "SIGSEGV at 3", "evidence:", "aten::linear"}) {
    EXPECT_NE(run.out.find(word), std::string::npos) << word << '\n' << run.out;
  }
}

}  // namespace
}  // namespace streamgate::testing

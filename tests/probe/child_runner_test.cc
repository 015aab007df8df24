// SPDX-License-Identifier: Apache-2.0
//
// What the parent makes of a child process's end, whatever that was.
#include <streamgate/executor/probe/child_runner.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

namespace streamgate::executor::probe {
namespace {

using policies::OpClass;
using namespace std::chrono_literals;

const std::vector<Stage> kStages = {{.parties = {{OpClass::kGraph, 3}}}};

TrialResult run(const std::string& way, ChildRunnerOptions options = {}) {
  options.program = STREAMGATE_PROBE_VICTIM;
  options.arguments = {way};
  return ChildRunner(std::move(options)).run(kStages);
}

/// What() of the ProbeError; empty when there is none.
std::string error_of(const std::string& way, const ChildRunnerOptions& options = {}) {
  try {
    static_cast<void>(run(way, options));
  } catch (const ProbeError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

TEST(ChildRunner, ReportsWhatAChildThatFinishedWroteDown) {
  const TrialResult result = run("finish");
  EXPECT_FALSE(result.failure);
  EXPECT_EQ(result.provenance.device, "a victim");
  EXPECT_EQ(result.max_streams, 4U);
  EXPECT_EQ(result.classes, (std::vector{OpClass::kRaw, OpClass::kGraph}));
  ASSERT_EQ(result.stages.size(), 1U);
  EXPECT_EQ(result.stages[0].operations, 100U);
}

TEST(ChildRunner, NamesTheSignalAndTheThreadOperationAndIterationThatItStruck) {
  const TrialResult result = run("struck");
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "SIGBUS");
  EXPECT_EQ(result.failure->thread, 2U);
  EXPECT_EQ(result.failure->iteration, 17U);
  EXPECT_EQ(result.failure->op_class, OpClass::kGraph);
  EXPECT_EQ(result.failure->operation, "aten::victim");
  EXPECT_EQ(result.failure->parties, kStages[0].parties);
}

TEST(ChildRunner, EndsAHangInTimeAndNamesWhoHangs) {
  const auto begin = std::chrono::steady_clock::now();
  const TrialResult result = run("hang");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "hang");
  EXPECT_EQ(result.failure->thread, 2U);
  EXPECT_EQ(result.failure->iteration, 17U);
}

TEST(ChildRunner, NamesCorruption) {
  const TrialResult result = run("corrupt");
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "corrupt");
  EXPECT_EQ(result.failure->thread, 2U);
}

TEST(ChildRunner, ExceptionOfTheDeviceIsAnAbortWithItsText) {
  const TrialResult result = run("throw");
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "SIGABRT");
  EXPECT_TRUE(contains(result.failure->text, "MPS backend said no")) << result.failure->text;
}

TEST(ChildRunner, ExitOfATrialUnderWayIsAFailure) {
  const TrialResult result = run("exit");
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "exit 9");
}

TEST(ChildRunner, KeepsTheLastWordsOfAChildThatNeverStopsTalking) {
  const TrialResult result = run("talk");
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "SIGABRT");
  EXPECT_TRUE(contains(result.failure->text, "line 199999")) << result.failure->text;
  EXPECT_LT(result.failure->text.size(), 5000U);
}

TEST(ChildRunner, TrustsNothingThatADyingChildWrote) {
  const TrialResult result = run("lie");
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->name, "SIGABRT");
  EXPECT_EQ(result.failure->stage, 0U);
  EXPECT_LE(result.failure->thread, 3U);
  EXPECT_LE(result.classes.size(), policies::kOpClasses);
  EXPECT_LE(result.max_streams, kMaxThreads);
}

TEST(ChildRunner, WhatIsNoFailureOfTheDeviceIsAnError) {
  EXPECT_TRUE(contains(error_of("killed"), "SIGKILL from outside, perhaps for lack of memory"));
  EXPECT_TRUE(contains(error_of("terminated"), "SIGTERM from outside"));
  EXPECT_TRUE(contains(error_of("cannot"), "there is no device"));
  EXPECT_TRUE(contains(error_of("exit-at-start"), "exit 9): cannot open the device"));
  EXPECT_TRUE(contains(error_of("die-at-start"), "cannot be initialised (SIGSEGV)"));
  EXPECT_TRUE(contains(error_of("hang-at-start", {.start_within = 300ms}), "not initialised"));
  try {
    static_cast<void>(ChildRunner({.program = "/no/such/program"}).run(kStages));
    ADD_FAILURE() << "ran a program that there is not";
  } catch (const ProbeError& error) {
    EXPECT_TRUE(contains(error.what(), "/no/such/program")) << error.what();
  }
}

TEST(ChildRunner, StopsWhenItIsTold) {
  std::atomic<bool> stop{true};
  EXPECT_THROW(static_cast<void>(run("finish", {.stop = &stop})), ProbeInterrupted);
  stop = false;
  // Told while the child hangs, which would be found out only after a minute.
  const std::jthread teller([&stop] { stop = true; });
  EXPECT_THROW(static_cast<void>(run("hang-at-start", {.stop = &stop})), ProbeInterrupted);
}

}  // namespace
}  // namespace streamgate::executor::probe

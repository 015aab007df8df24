// SPDX-License-Identifier: Apache-2.0
//
// Executors on the MPS backend, end to end, on stand-ins of libtorch's interface; and what must
// happen in a process of its own, as it dies, forks or ends.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <thread>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "child.h"
#include "mps_support.h"

namespace streamgate::testing {
namespace {

using executor::mps_tier;
using executor::MpsTier;

constexpr std::size_t kTasks = 10'000;

TEST(MpsExecutor, SixteenThreadsGetTheRightResults) {
  const std::size_t commits = stand_in::counts().commits;
  Executor executor(on_mps(mps_config()));
  EXPECT_EQ(wrong_results_of_mixed_tasks(executor, kTasks, Encode::kInTheQueue), 0U);
  drain_all(executor);
  EXPECT_GE(stand_in::counts().commits, commits + kTasks);
  EXPECT_EQ(stand_in::counts().streams_given_to_threads, 0U);
  EXPECT_EQ(stand_in::open_pools(), 0U);
}

TEST(MpsExecutor, SubmittedTasksEndWhenTheDeviceHasFinished) {
  Executor executor(on_mps(mps_config()));
  std::vector<std::uint64_t> results(200);
  std::vector<Future<void>> futures;
  for (std::size_t task = 0; task < results.size(); ++task) {
    futures.push_back(executor.submit({.op_class = OpClass::kRaw}, [&results, task] {
      stand_in::encode({.classes = OpClass::kRaw, .label = "submitted", .kernel = [&results, task] {
                          results[task] = expected_result(task);
                        }});
    }));
  }
  for (std::size_t task = 0; task < results.size(); ++task) {
    EXPECT_EQ(futures[task].get().outcome(), Outcome::kOk);
    EXPECT_EQ(results[task], expected_result(task)) << "the future came before the device";
  }
  drain_all(executor);
}

TEST(MpsExecutor, ASingleStreamSerialisesAndAPoolDoesNot) {
  Executor executor(on_mps(mps_config()));
  // Two that wait for each other can end only side by side.
  Countdown together(2);
  Census census;
  std::vector<Future<void>> futures;
  for (int i = 0; i < 2; ++i) {
    futures.push_back(executor.submit({.op_class = OpClass::kRaw}, [&] {
      census.enter();
      if (kHasPool) {
        EXPECT_TRUE(together.arrive_and_wait());
      }
      census.leave();
    }));
  }
  for (auto& future : futures) EXPECT_TRUE(future.get());
  EXPECT_EQ(census.peak(), kHasPool ? 2U : 1U);
  EXPECT_EQ(executor.snapshot().streams.slots, kHasPool ? 32U : 1U);
  drain_all(executor);
}

TEST(MpsExecutor, ATaskMayRunAnotherOneInside) {
  Executor executor(on_mps(mps_config()));
  int result = 0;
  EXPECT_TRUE(executor.run([&] {
    EXPECT_TRUE(
        executor.run([&] { stand_in::encode({.label = "inner", .kernel = [&] { result = 1; }}); }));
    EXPECT_EQ(result, 1) << "the inner task ended before the device was done with it";
  }));
  drain_all(executor);
}

// ---- in a child ----

void expect_fine(const std::string& scenario) {
  const ChildResult child = run_scenario_in_child(scenario);
  EXPECT_EQ(child.exit_code, 0) << scenario << ", signal " << child.signal << "\n" << child.err;
}

TEST(MpsExecutorInAChild, SafeWidthsAsCeilingsKeepItAlive) { expect_fine("gated"); }

TEST(MpsExecutorInAChild, WithoutTheGateItDies) {
  const ChildResult child = run_scenario_in_child("ungated");
  EXPECT_TRUE(child.signal == SIGSEGV || child.signal == SIGABRT)
      << "exit " << child.exit_code << ", signal " << child.signal << "\n"
      << child.err;
  EXPECT_EQ(child.err.find("stand-in: "), std::string::npos) << child.err;
}

TEST(MpsExecutorInAChild, AForkedChildIsRefused) { expect_fine("forked"); }

TEST(MpsExecutorInAChild, NoCallIsMadeAfterMain) { expect_fine("after-main"); }

TEST(MpsExecutorInAChild, NoDeviceIsAClearError) { expect_fine("no-device"); }

TEST(MpsExecutorInAChild, TheGraphPathIsForcedBeforeLibtorchLooks) {
  expect_fine("forced-graph-path");
}

TEST(MpsExecutorInAChild, AGraphPathForcedTooLateIsRefused) {
  expect_fine("graph-path-forced-too-late");
}

TEST(MpsExecutorInAChild, AThreadOtherThanTheConstructingOneMayDoTheFirstTask) {
  expect_fine("first-task-elsewhere");
}

TEST(MpsExecutorInAChild, ADeviceThatFailsToCommitPutsItsStreamOutOfUse) {
  expect_fine("failing-commit");
}

// That the stand-ins would notice.
void expect_noticed(const std::string& scenario, const std::string& text) {
  const ChildResult child = run_scenario_in_child(scenario);
  EXPECT_EQ(child.signal, SIGABRT) << "exit " << child.exit_code << "\n" << child.err;
  EXPECT_NE(child.err.find(text), std::string::npos) << child.err;
}

TEST(MpsStandIn, NoticesUseBeforeInitialisation) {
  expect_noticed("uninitialised", "used before it was initialised");
}

TEST(MpsStandIn, NoticesInitialisationOnAnotherThread) {
  expect_noticed("initialised-elsewhere", "must be initialised on the main thread");
}

TEST(MpsStandIn, NoticesACommitOutsideTheQueue) {
  expect_noticed("past-the-queue", "outside the stream's queue");
}

TEST(MpsStandIn, NoticesTwoOwners) {
  if (!kHasPool) GTEST_SKIP() << "one stream, which is everybody's";
  expect_noticed("two-owners", "current on two threads");
}

TEST(MpsStandIn, NoticesACallInAForkedChild) { expect_fine("forked-past-the-backend"); }

}  // namespace
}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// Workers that die, hang or write nonsense, at every place of a call's way, and those that cannot
// be started: what it costs, what is said of it, and what is never done twice.
#include <streamgate/executor/workers/worker_pool.h>

#include <gtest/gtest.h>

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "pool_support.h"

namespace streamgate::executor {
namespace {

using namespace std::chrono_literals;
using testing::call;
using testing::count;
using testing::eventually;
using testing::NoteFile;
using testing::pool_options;
using testing::TestCall;
using testing::wait_for_ready;

/// Long enough for a worker on a busy machine to begin a call.
constexpr std::chrono::milliseconds kSoon{500};

void expect_serves(WorkerPool& pool) {
  const auto next = call(pool, "eafter");
  EXPECT_EQ(next->how.result, CallResult::kDone);
  EXPECT_EQ(next->answer, "after");
}

TEST(WorkerDeath, ASignalInAnOperationCostsThatCallAndIsNamedWithTheLastWords) {
  WorkerPool pool(pool_options(1));
  for (const int signal : {SIGSEGV, SIGABRT, SIGKILL, SIGBUS}) {
    const auto died = call(pool, "r" + std::to_string(signal));
    EXPECT_EQ(died->how.result, CallResult::kWorkerDied);
    EXPECT_TRUE(died->how.begun);
    EXPECT_EQ(died->how.signal, signal);
    EXPECT_EQ(died->how.cause, WorkerExit::kSignalled);
    EXPECT_NE(died->how.text.find("last words"), std::string::npos) << died->how.text;
    expect_serves(pool);
  }
  EXPECT_EQ(count(pool.snapshot(), WorkerExit::kSignalled), 4U);
}

TEST(WorkerDeath, AnExitInAnOperationCostsThatCall) {
  WorkerPool pool(pool_options(1));
  const auto died = call(pool, "x3");
  EXPECT_EQ(died->how.result, CallResult::kWorkerDied);
  EXPECT_EQ(died->how.cause, WorkerExit::kExited);
  EXPECT_NE(died->how.text.find("exited with 3"), std::string::npos) << died->how.text;
  expect_serves(pool);
}

TEST(WorkerDeath, WithHalfOfAnAnswerWrittenThereIsNoAnswer) {
  WorkerPool pool(pool_options(1));
  const auto died = call(pool, "q" + std::string(10'000, 'x'));
  EXPECT_EQ(died->how.result, CallResult::kWorkerDied);
  EXPECT_TRUE(died->answer.empty());
  expect_serves(pool);
}

TEST(WorkerDeath, TheOthersAreNotTouched) {
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  TestCall other("c");
  const std::uint64_t number = pool.submit(other, {});
  EXPECT_EQ(call(pool, "r11")->how.result, CallResult::kWorkerDied);
  EXPECT_FALSE(other.has_ended());
  pool.cancel(number);
  EXPECT_EQ(other.wait(), CallResult::kCancelled);
}

TEST(WorkerDeath, ACallThatWasBegunIsNotBegunAgain) {
  WorkerPool pool(pool_options(2));
  const NoteFile note("begun-once");
  EXPECT_EQ(call(pool, "d" + note.path())->how.result, CallResult::kWorkerDied);
  expect_serves(pool);
  EXPECT_EQ(note.lines(), 1U);
}

TEST(WorkerDeath, ACallThatMayBeRepeatedIsUpToItsAttempts) {
  WorkerPool pool(pool_options(2));
  const NoteFile note("begun-often");
  const auto died = call(pool, "d" + note.path(), {.attempts = 3});
  EXPECT_EQ(died->how.result, CallResult::kWorkerDied);
  EXPECT_EQ(note.lines(), 3U);
  EXPECT_EQ(pool.snapshot().calls_retried, 2U);
}

TEST(WorkerDeath, ACallThatWasNotBegunGoesToAnotherWorker) {
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  const NoteFile note("not-begun");
  // Stopped, a worker can be sent a call and cannot begin it.
  const pid_t process = static_cast<pid_t>(std::stol(call(pool, "i")->answer));
  ASSERT_TRUE(eventually([&] { return pool.load().idle == 2; }));
  kill(process, SIGSTOP);
  TestCall moved("n" + note.path());
  pool.submit(moved, {});
  ASSERT_EQ(moved.encoded, 1) << "the stopped one, which was busy last, was given it";
  kill(process, SIGKILL);
  EXPECT_EQ(moved.wait(), CallResult::kDone);
  EXPECT_EQ(moved.encoded, 2);
  EXPECT_EQ(note.lines(), 1U);
  EXPECT_EQ(pool.snapshot().calls_requeued, 1U);
}

TEST(WorkerDeath, AWorkerThatDiesWhileARequestIsWrittenForItCostsTheCallNothing) {
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  const pid_t process = static_cast<pid_t>(std::stol(call(pool, "i")->answer));
  ASSERT_TRUE(eventually([&] { return pool.load().idle == 2; }));
  TestCall moved("etext");
  moved.on_encode = [&] {
    if (moved.encoded > 1) return;
    kill(process, SIGKILL);
    ASSERT_TRUE(eventually([&] { return count(pool.snapshot(), WorkerExit::kSignalled) == 1; }));
  };
  pool.submit(moved, {});
  EXPECT_EQ(moved.wait(), CallResult::kDone);
  EXPECT_EQ(moved.answer, "text");
  EXPECT_EQ(moved.ends, 1);
}

TEST(WorkerDeath, AnIdleWorkerThatDiesIsReplaced) {
  WorkerPool pool(pool_options(1));
  const std::string before = call(pool, "i")->answer;
  kill(static_cast<pid_t>(std::stol(before)), SIGKILL);
  ASSERT_TRUE(eventually([&] { return pool.snapshot().starts == 2; }));
  EXPECT_NE(call(pool, "i")->answer, before);
}

// ---- hangs --------------------------------------------------------------------------------------

TEST(WorkerHang, ACallThatPassesItsTimeExpiresAndItsWorkerIsReplaced) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  const auto late = call(pool, "h", {.run_for = kSoon});
  EXPECT_EQ(late->how.result, CallResult::kExpired);
  EXPECT_TRUE(late->how.begun);
  EXPECT_NE(late->how.text.find("SIGTERM"), std::string::npos) << late->how.text;
  expect_serves(pool);
  EXPECT_EQ(count(pool.snapshot(), WorkerExit::kHung), 1U);
}

TEST(WorkerHang, AWorkerThatIsDeafToTermIsKilled) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  const auto late = call(pool, "H", {.run_for = kSoon});
  EXPECT_EQ(late->how.result, CallResult::kExpired);
  EXPECT_NE(late->how.text.find("SIGKILL"), std::string::npos) << late->how.text;
  expect_serves(pool);
}

TEST(WorkerHang, ACallThatPassesItsTimeAndHeedsItCostsNoWorker) {
  WorkerPoolOptions options = pool_options(1);
  options.cancel_grace = std::chrono::duration_cast<std::chrono::milliseconds>(testing::kGuard);
  WorkerPool pool(options);
  const std::string before = call(pool, "i")->answer;
  EXPECT_EQ(call(pool, "c", {.run_for = 20ms})->how.result, CallResult::kExpired);
  EXPECT_EQ(call(pool, "i")->answer, before);
}

TEST(WorkerHang, ACancelledCallThatDoesNotEndCostsItsWorker) {
  WorkerPool pool(pool_options(1));
  const NoteFile note("deaf");
  TestCall deaf("h" + note.path());
  const std::uint64_t number = pool.submit(deaf, {});
  ASSERT_TRUE(eventually([&] { return note.lines() == 1; })) << "it has begun";
  ASSERT_TRUE(pool.cancel(number));
  EXPECT_EQ(deaf.wait(), CallResult::kCancelled);
  expect_serves(pool);
  EXPECT_EQ(count(pool.snapshot(), WorkerExit::kCancelled), 1U);
}

TEST(WorkerHang, WithoutProgressAWorkerIsTakenForHung) {
  WorkerPoolOptions options = pool_options(1);
  options.hang_after = kSoon;
  WorkerPool pool(options);
  ASSERT_TRUE(wait_for_ready(pool, 1));
  const auto hung = call(pool, "h");
  EXPECT_EQ(hung->how.result, CallResult::kWorkerDied);
  EXPECT_EQ(hung->how.cause, WorkerExit::kHung);
  expect_serves(pool);
}

TEST(WorkerHang, WithProgressItIsNotHoweverLongItTakes) {
  WorkerPoolOptions options = pool_options(1);
  options.hang_after = kSoon;
  WorkerPool pool(options);
  ASSERT_TRUE(wait_for_ready(pool, 1));
  // Its time to run ends it after several times as long.
  EXPECT_EQ(call(pool, "m", {.run_for = 4 * kSoon})->how.result, CallResult::kExpired);
  EXPECT_EQ(count(pool.snapshot(), WorkerExit::kHung), 0U);
}

TEST(WorkerHang, AStoppedProcessIsTakenForHungAndItsCallGoesElsewhere) {
  WorkerPoolOptions options = pool_options(2);
  options.hang_after = kSoon;
  WorkerPool pool(options);
  ASSERT_TRUE(wait_for_ready(pool, 2));
  const pid_t process = static_cast<pid_t>(std::stol(call(pool, "i")->answer));
  ASSERT_TRUE(eventually([&] { return pool.load().idle == 2; }));
  kill(process, SIGSTOP);
  EXPECT_EQ(call(pool, "ehere")->answer, "here") << "it was never begun";
  EXPECT_EQ(count(pool.snapshot(), WorkerExit::kHung), 1U);
}

// ---- nonsense -----------------------------------------------------------------------------------

TEST(WorkerNonsense, AWorkerThatWritesItIsKilledAndItsCallIsNotRepeated) {
  for (const char* deed : {"s", "o", "b", "D"}) {
    WorkerPool pool(pool_options(1));
    const auto spoilt = call(pool, deed);
    EXPECT_EQ(spoilt->how.result, CallResult::kWorkerDied) << deed;
    EXPECT_EQ(spoilt->how.cause, WorkerExit::kCorrupt) << deed;
    EXPECT_EQ(spoilt->ends, 1) << deed;
    expect_serves(pool);
  }
}

TEST(WorkerAnswers, WhatIsSaidOfFirstRunsArrives) {
  WorkerPool pool(pool_options(1));
  EXPECT_TRUE(call(pool, "f")->how.first_runs);
  EXPECT_FALSE(call(pool, "e")->how.first_runs);
}

TEST(WorkerNonsense, ASecondAnswerIsNoAnswerToTheNextCall) {
  WorkerPool pool(pool_options(1));
  const auto first = call(pool, "2");
  EXPECT_EQ(first->how.result, CallResult::kDone);
  EXPECT_EQ(first->ends, 1);
  // The next call may have been with that worker; then it is lost or moved, but never wrong.
  const auto second = call(pool, "eright", {.attempts = 2});
  EXPECT_EQ(second->how.result, CallResult::kDone);
  EXPECT_EQ(second->answer, "right");
  EXPECT_TRUE(eventually([&] { return count(pool.snapshot(), WorkerExit::kCorrupt) == 1; }));
}

// ---- starting -----------------------------------------------------------------------------------

/// The text with which a call is refused because no worker can be started.
std::string refusal(WorkerPoolOptions options) {
  options.supervisor.restart.breaker_deaths = 1;
  WorkerPool pool(options);
  const auto refused = call(pool, "e");
  EXPECT_EQ(refused->how.result, CallResult::kRefused);
  EXPECT_FALSE(refused->how.begun);
  EXPECT_GE(count(pool.snapshot(), WorkerExit::kStartFailed), 1U);
  EXPECT_TRUE(pool.snapshot().breaker_open);
  return refused->how.text;
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(WorkerStart, CallsAreRefusedWithTheReasonWhenNoneCanBeStarted) {
  WorkerPoolOptions options = pool_options(1);
  options.supervisor.program = "/nonexistent/streamgate";
  EXPECT_TRUE(says(refusal(options), "/nonexistent/streamgate"));

  options = pool_options(1);
  options.supervisor.program = "/bin/true";
  EXPECT_TRUE(says(refusal(options), "before it was ready it exited with 0"));

  options = pool_options(1);
  options.supervisor.environment = {{"STREAMGATE_TEST_SILENT", "1"}};
  options.supervisor.start_within = 100ms;
  EXPECT_TRUE(says(refusal(options), "did not report; it was given 100 ms"));

  options = pool_options(1);
  options.supervisor.configuration = "stall";
  options.supervisor.ready_within = 100ms;
  EXPECT_TRUE(says(refusal(options), "was not ready; it was given 100 ms"));

  options = pool_options(1);
  options.supervisor.configuration = "unfit";
  EXPECT_TRUE(says(refusal(options), "cannot serve: no such module"));

  options = pool_options(1);
  options.supervisor.configuration = "die";
  EXPECT_TRUE(says(refusal(options), "cannot load the device"));

  options = pool_options(1);
  options.supervisor.identity = "1.13.1 (build 0123)";
  EXPECT_TRUE(says(refusal(options),
                   "it runs on libtorch test 1, and this process on 1.13.1 (build 0123)"));
}

TEST(WorkerStart, ACallWaitsForAWorkerThatComesAtTheSecondTry) {
  const NoteFile note("first-dies");
  WorkerPoolOptions options = pool_options(1);
  options.supervisor.configuration = "first-dies:" + note.path();
  WorkerPool pool(options);
  EXPECT_EQ(call(pool, "ehere")->answer, "here");
  EXPECT_EQ(pool.snapshot().starts, 2U);
}

}  // namespace
}  // namespace streamgate::executor

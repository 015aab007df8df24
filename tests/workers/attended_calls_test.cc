// SPDX-License-Identifier: Apache-2.0
//
// Calls whose thread stays for the answer and hears it itself, in turns with the thread that
// listens otherwise: no answer and no end goes unheard, whoever's turn it is.
#include <streamgate/executor/workers/worker_pool.h>

#include <gtest/gtest.h>

#include <signal.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool_support.h"

namespace streamgate::executor {
namespace {

using testing::eventually;
using testing::pool_options;
using testing::TestCall;
using testing::wait_for_ready;

/// As Executor::run does it: submits, stays, and then waits in case the call ends otherwise.
std::unique_ptr<TestCall> attended(WorkerPool& pool, const std::string& request,
                                   WorkerCallOptions options = {}) {
  options.attended = true;
  auto made = std::make_unique<TestCall>(request);
  pool.submit(*made, options);
  pool.attend(*made);
  static_cast<void>(made->wait());
  return made;
}

TEST(AttendedCalls, TheThreadThatStaysCompletesItsCallItself) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  for (int i = 0; i < 200; ++i) {
    TestCall call("e" + std::to_string(i));
    pool.submit(call, {.attended = true});
    pool.attend(call);
    ASSERT_TRUE(call.has_ended()) << "somebody else heard the answer, or nobody, call " << i;
    EXPECT_EQ(call.answer, std::to_string(i));
  }
}

TEST(AttendedCalls, ThoseWhoStayAndThoseWhoDoNotTakeTurns) {
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> clients;
    for (unsigned client = 0; client < 5; ++client) {
      clients.emplace_back([&, client] {
        std::mt19937 random(client);
        for (int i = 0; i < 300; ++i) {
          const std::string text = std::to_string(client) + "/" + std::to_string(i);
          const auto call =
              random() % 2 == 0 ? attended(pool, "e" + text) : testing::call(pool, "e" + text);
          if (call->ends != 1 || call->answer != text) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pool.snapshot().calls_started, 5U * 300U);
}

TEST(AttendedCalls, DeathAndNonsenseOfItsWorkerEndACallThatSomebodyStaysFor) {
  WorkerPool pool(pool_options(1));
  const std::vector<std::pair<std::string, WorkerExit>> deeds = {{"r11", WorkerExit::kSignalled},
                                                                 {"x5", WorkerExit::kExited},
                                                                 {"s", WorkerExit::kCorrupt},
                                                                 {"o", WorkerExit::kCorrupt},
                                                                 {"b", WorkerExit::kCorrupt}};
  for (const auto& [deed, cause] : deeds) {
    ASSERT_TRUE(wait_for_ready(pool, 1)) << deed;
    EXPECT_EQ(attended(pool, "ebefore")->answer, "before");
    const auto died = attended(pool, deed);
    EXPECT_EQ(died->how.result, CallResult::kWorkerDied) << deed;
    EXPECT_EQ(died->how.cause, cause) << deed << ": " << died->how.text;
    EXPECT_EQ(died->ends, 1) << deed;
  }
}

TEST(AttendedCalls, CallThatMayBeRepeatedIsRepeatedByAnotherWorker) {
  const testing::NoteFile notes("attended");
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  const auto died = attended(pool, "d" + notes.path(), {.attempts = 3});
  EXPECT_EQ(died->how.result, CallResult::kWorkerDied);
  EXPECT_EQ(notes.lines(), 3U);
}

TEST(AttendedCalls, CancellingReachesACallThatSomebodyStaysFor) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  TestCall call("c");
  const std::uint64_t number = pool.submit(call, {.attended = true});
  EXPECT_TRUE(pool.cancel(number));
  pool.attend(call);
  EXPECT_EQ(call.wait(), CallResult::kCancelled);
}

TEST(AttendedCalls, WorkerThatDiesWhileNobodyListensIsReplaced) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  const std::string first = attended(pool, "i")->answer;
  kill(static_cast<pid_t>(std::stol(first)), SIGKILL);
  EXPECT_TRUE(eventually([&] {
    const auto now = attended(pool, "i", {.attempts = 3});
    return now->how.result == CallResult::kDone && now->answer != first;
  }));
}

TEST(AttendedCalls, StoppingEndsACallThatSomebodyStaysFor) {
  WorkerPool pool(pool_options(1));
  ASSERT_TRUE(wait_for_ready(pool, 1));
  const testing::NoteFile begun("attended-stop");
  std::jthread stopper([&] {
    EXPECT_TRUE(eventually([&] { return begun.lines() == 1; }));
    pool.stop();
  });
  EXPECT_EQ(attended(pool, "h" + begun.path())->how.result, CallResult::kCancelled);
}

}  // namespace
}  // namespace streamgate::executor

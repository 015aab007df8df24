// SPDX-License-Identifier: Apache-2.0
//
// The emulated Metal dies as Metal does, with its texts, and only then: each death in a process of
// its own.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "../support/child_process.h"

namespace streamgate::testing {
namespace {

using namespace std::chrono_literals;

constexpr auto kLife = 60s;    ///< For what ends by itself.
constexpr auto kHanging = 1s;  ///< For what does not, to be sure of it.

ChildResult victim(std::vector<std::string> arguments, std::chrono::milliseconds guard = kLife) {
  arguments.insert(arguments.begin(), STREAMGATE_EMULATOR_VICTIM);
  return run_child(std::move(arguments), guard);
}

void expect_assertion(const std::vector<std::string>& arguments, const std::string& text) {
  const ChildResult result = victim(arguments);
  EXPECT_EQ(result.signal, SIGABRT) << arguments[0];
  EXPECT_NE(result.err.find("failed assertion `" + text + "'"), std::string::npos) << result.err;
}

TEST(EmulatedMetalDies, OfTwoThreadsThatEncodeOnOneStreamWithoutItsQueue) {
  expect_assertion({"two-threads-without-the-queue"},
                   "A command encoder is already encoding to this command buffer");
}

TEST(EmulatedMetalDies, OfACommitWithAnOpenEncoder) {
  expect_assertion({"commit-with-an-open-encoder"},
                   "commit command buffer with uncommitted encoder");
}

TEST(EmulatedMetalDies, OfAHandlerAddedAfterCommit) {
  expect_assertion({"handler-after-commit", "scheduled"},
                   "Scheduled handler provided after commit call");
  expect_assertion({"handler-after-commit", "completed"},
                   "Completed handler provided after commit call");
}

TEST(EmulatedMetalDies, OfAnEncoderAfterCommit) {
  expect_assertion({"encode-after-commit"}, "_status < MTLCommandBufferStatusCommitted");
}

TEST(EmulatedMetalDies, OfUseBeforeInitialisationAndOfInitialisationOffTheMainThread) {
  expect_assertion({"use-before-initialisation"}, "the device was used before it was initialised");
  expect_assertion({"initialisation-off-the-main-thread"},
                   "the device must be initialised on the main thread before other threads use it");
}

TEST(EmulatedMetalDies, OfWaitingForItsOwnQueue) {
  expect_assertion({"a-turn-inside-a-turn"},
                   "dispatch_sync called on queue already owned by current thread");
}

// ---- faults ----

std::string model(const std::string& op_class, std::size_t safe, const std::string& fault,
                  double probability = 1.0, std::size_t after = 0) {
  return "[class." + op_class + "]\nsafe_threads = " + std::to_string(safe) + "\nfault = \"" +
         fault + "\"\nprobability = " + std::to_string(probability) +
         "\nafter = " + std::to_string(after) + "\n";
}

TEST(EmulatedMetalFaults, SegvIsARealSignalAndSaysWhatWasUnsafe) {
  const ChildResult result = victim({"hammer", model("kernel", 2, "segv"), "50", "kernel", "3"});
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_EQ(result.signal, SIGSEGV);
#endif
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("hammer encodes kernel as one of 3 at once"), std::string::npos)
      << result.err;
}

TEST(EmulatedMetalFaults, AbortHasOneOfMetalsTexts) {
  const ChildResult result = victim({"hammer", model("graph", 3, "abort"), "50", "graph", "4"});
  EXPECT_EQ(result.signal, SIGABRT);
  const bool known =
      result.err.find("Scheduled handler provided after commit call") != std::string::npos ||
      result.err.find("commit command buffer with uncommitted encoder") != std::string::npos ||
      result.err.find("_status < MTLCommandBufferStatusCommitted") != std::string::npos;
  EXPECT_TRUE(known) << result.err;
}

TEST(EmulatedMetalFaults, AHangNeverReturns) {
  const ChildResult result =
      victim({"hammer", model("graph", 1, "hang"), "50", "graph", "2"}, kHanging);
  EXPECT_TRUE(result.timed_out) << "exit " << result.exit_code << ", signal " << result.signal;
}

TEST(EmulatedMetalFaults, CorruptionIsSilentAndWrong) {
  const ChildResult result = victim({"hammer", model("graph", 2, "corrupt"), "50", "graph", "3"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(result.err, "");
}

TEST(EmulatedMetalFaults, ACertainFaultStrikesEveryTimeAtOneThreadMoreThanIsSafe) {
  for (int run = 0; run < 10; ++run) {
    for (const std::size_t safe : {1U, 2U, 3U, 7U}) {
      const ChildResult result = victim(
          {"hammer", model("graph", safe, "abort"), "100", "graph", std::to_string(safe + 1)});
      EXPECT_EQ(result.signal, SIGABRT) << "safe " << safe << ", run " << run;
    }
  }
}

TEST(EmulatedMetalFaults, NothingStrikesAtTheSafeWidth) {
  for (const std::string fault : {"segv", "abort", "corrupt"}) {
    for (const std::size_t safe : {1U, 2U, 3U}) {
      const ChildResult result = victim({"hammer", model("graph", safe, fault), "300", "graph",
                                         std::to_string(safe), "raw", "4", "kernel", "2"});
      EXPECT_EQ(result.exit_code, 0) << fault << " at " << safe << ": " << result.err;
    }
  }
}

TEST(EmulatedMetalFaults, ACompositeCountsInEachOfItsClasses) {
  const std::string kernel_2 = model("kernel", 2, "abort");
  EXPECT_EQ(victim({"hammer", kernel_2, "100", "kernel", "1", "kernel+graph", "2"}).signal,
            SIGABRT);
  EXPECT_EQ(victim({"hammer", kernel_2, "100", "kernel", "1", "kernel+graph", "1", "graph", "3"})
                .exit_code,
            0);
}

TEST(EmulatedMetalFaults, IncompatibleClassesStrikeTogetherAndNeverAlone) {
  const std::string pair =
      "[[incompatible]]\nclasses = [\"graph\", \"raw\"]\nfault = \"abort\"\nprobability = 1.0\n";
  EXPECT_EQ(victim({"hammer", pair, "100", "graph", "1", "raw", "1"}).signal, SIGABRT);
  EXPECT_EQ(victim({"hammer", pair, "100", "graph", "4", "kernel", "4"}).exit_code, 0);
  EXPECT_EQ(victim({"hammer", pair, "100", "raw", "8"}).exit_code, 0);
}

TEST(EmulatedMetalFaults, ACompositeOfIncompatibleClassesIsNoDangerToItself) {
  const std::string pair =
      "[[incompatible]]\nclasses = [\"graph\", \"kernel\"]\nfault = \"abort\"\nprobability = 1.0\n";
  EXPECT_EQ(victim({"hammer", pair, "100", "kernel+graph", "1"}).exit_code, 0);
  EXPECT_EQ(victim({"hammer", pair, "100", "kernel+graph", "2"}).signal, SIGABRT);
}

TEST(EmulatedMetalFaults, NothingStrikesBeforeSoManyEncodes) {
  const std::string late = model("graph", 1, "abort", 1.0, 200);
  EXPECT_EQ(victim({"hammer", late, "50", "graph", "4"}).exit_code, 0);
  EXPECT_EQ(victim({"hammer", late, "60", "graph", "4"}).signal, SIGABRT);
}

TEST(EmulatedMetalFaults, AnIntermittentFaultSparesShortRunsAndKillsLongOnes) {
  const std::string rare = model("graph", 1, "abort", 0.02);
  int survived_short = 0;
  for (int run = 0; run < 20; ++run) {
    if (victim({"hammer", rare, "1", "graph", "2"}).exit_code == 0) ++survived_short;
  }
  EXPECT_GT(survived_short, 0);  // All 20 die with a probability of 1e-28.
  // 4,000 encodes at an unsafe width, or nearly all of them: survived with less than 1e-30.
  EXPECT_EQ(victim({"hammer", rare, "2000", "graph", "2"}).signal, SIGABRT);
}

}  // namespace
}  // namespace streamgate::testing

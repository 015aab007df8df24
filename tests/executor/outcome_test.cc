// SPDX-License-Identifier: Apache-2.0
//
// Outcomes are values with words, and a result hands out its value or says why there is none.
#include <streamgate/executor/outcome.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <exception>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace streamgate::executor {
namespace {

Outcome outcome_at(std::size_t index) { return static_cast<Outcome>(index); }

TEST(Outcome, EveryOneHasItsWordAndEveryRejectionItsReason) {
  EXPECT_EQ(to_string(Outcome::kOk), "ok");
  EXPECT_EQ(to_string(Outcome::kExpired), "expired");
  EXPECT_EQ(to_string(Outcome::kCancelled), "cancelled");
  EXPECT_EQ(to_string(Outcome::kWorkerDied), "worker_died");
  EXPECT_EQ(to_string(Outcome::kFailed), "failed");
  EXPECT_EQ(reason(Outcome::kQueueFull), "queue_full");
  EXPECT_EQ(reason(Outcome::kBytesFull), "bytes_full");
  EXPECT_EQ(reason(Outcome::kShed), "shed");
  EXPECT_EQ(reason(Outcome::kShutdown), "shutdown");
  EXPECT_EQ(reason(Outcome::kQuarantined), "quarantined");
  std::set<std::string> pairs;
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    const Outcome outcome = outcome_at(i);
    EXPECT_EQ(is_rejected(outcome), to_string(outcome) == "rejected") << i;
    EXPECT_EQ(is_rejected(outcome), !reason(outcome).empty()) << i;
    EXPECT_TRUE(
        pairs.insert(std::string(to_string(outcome)) + std::string(reason(outcome))).second);
    EXPECT_EQ(index_of(outcome), i);
  }
}

TEST(Result, HandsOutItsValue) {
  Result<std::string> result(std::in_place, "abc");
  EXPECT_TRUE(result.ok());
  EXPECT_TRUE(result);
  EXPECT_EQ(result.outcome(), Outcome::kOk);
  EXPECT_EQ(result.error(), nullptr);
  EXPECT_EQ(result.value(), "abc");
  EXPECT_EQ(*result, "abc");
  EXPECT_EQ(result->size(), 3U);
  EXPECT_EQ(std::as_const(result).value(), "abc");
  const std::string taken = *std::move(result);
  EXPECT_EQ(taken, "abc");
}

TEST(Result, SaysWhatIsKnownOfAnEndWithoutAValue) {
  const Result<int> died(Outcome::kWorkerDied, std::make_exception_ptr(OutcomeError(
                                                   Outcome::kWorkerDied, "SIGSEGV: last words")));
  EXPECT_EQ(died.evidence(), "SIGSEGV: last words");
  EXPECT_EQ(died.error(), nullptr) << "the task threw nothing";
  try {
    static_cast<void>(died.value());
    ADD_FAILURE() << "nothing was thrown";
  } catch (const OutcomeError& error) {
    EXPECT_EQ(error.outcome(), Outcome::kWorkerDied);
    EXPECT_NE(std::string(error.what()).find("worker_died: SIGSEGV: last words"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(Result<int>(Outcome::kExpired).evidence(), "");
  EXPECT_EQ(Result<int>(std::in_place, 1).evidence(), "");
  EXPECT_EQ(Result<int>(std::make_exception_ptr(std::runtime_error("mine"))).evidence(), "");
}

TEST(Result, HandsOutAValueThatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result(std::in_place, std::make_unique<int>(7));
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 7);
}

TEST(Result, WithoutAValueItThrowsItsOutcome) {
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    const Outcome outcome = outcome_at(i);
    if (outcome == Outcome::kOk || outcome == Outcome::kFailed) continue;
    Result<int> result(outcome);
    EXPECT_FALSE(result);
    try {
      (void)result.value();
      ADD_FAILURE() << "a value of " << to_string(outcome);
    } catch (const OutcomeError& error) {
      EXPECT_EQ(error.outcome(), outcome);
      const std::string text = error.what();
      EXPECT_NE(text.find(to_string(outcome)), std::string::npos) << text;
      EXPECT_NE(text.find(reason(outcome)), std::string::npos) << text;
    }
    EXPECT_THROW((void)*result, OutcomeError);
  }
}

TEST(Result, OfAFailureRethrowsTheUsersOwn) {
  Result<int> result(std::make_exception_ptr(std::out_of_range("mine")));
  EXPECT_EQ(result.outcome(), Outcome::kFailed);
  EXPECT_NE(result.error(), nullptr);
  EXPECT_THROW((void)result.value(), std::out_of_range);
  EXPECT_THROW((void)*result, std::out_of_range);
  EXPECT_THROW((void)std::move(result).value(), std::out_of_range);
}

TEST(Result, OfVoidIsOnlyAnOutcome) {
  EXPECT_TRUE(Result<void>(std::in_place));
  EXPECT_NO_THROW((void)Result<void>(std::in_place).value());
  EXPECT_THROW((void)Result<void>(Outcome::kExpired).value(), OutcomeError);
}

}  // namespace
}  // namespace streamgate::executor

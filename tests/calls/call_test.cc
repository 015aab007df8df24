// SPDX-License-Identifier: Apache-2.0
//
// Calls in this process: the same tasks as closures to gate, queue, counters and outcomes.
#include <streamgate/executor.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

#include "../support/executors.h"
#include "module_files.h"

namespace streamgate::executor {
namespace {

using c10::IValue;
using testing::Blocker;
using testing::count_of;
using testing::ModuleFiles;

Config one_at_a_time() {
  Config config;
  config.executor.backend = "cpu";
  config.executor.threads = 2;
  config.executor.allow_oversubscription = true;
  return testing::with_gate(config, OpClass::kRaw, 1, 1);
}

class CallTest : public ::testing::Test {
 protected:
  Executor executor_{ExecutorOptions{.config = one_at_a_time()}};
  const Operation linear_ = executor_.operation("aten::linear");
  const at::Tensor a_ = at::arange(6, at::kFloat).reshape({2, 3});
  const at::Tensor b_ = at::arange(12, at::kFloat).reshape({4, 3});
};

TEST_F(CallTest, BothDoorsGiveTheOperationsResult) {
  const at::Tensor expected = at::linear(a_, b_);
  EXPECT_TRUE(at::equal(executor_.call(linear_, {a_, b_}).get()->toTensor(), expected));
  EXPECT_TRUE(at::equal(executor_.run(linear_, {a_, b_})->toTensor(), expected));
  EXPECT_EQ(count_of(executor_.snapshot(), Outcome::kOk), 2U);
}

TEST_F(CallTest, AMethodOfARegisteredModuleIsCalled) {
  ModuleFiles files;
  executor_.register_module("m", files.save("m.pt", "def forward(self, x):\n    return x + 1\n"));
  EXPECT_TRUE(
      at::equal(executor_.call(executor_.operation("m.forward"), {a_}).get()->toTensor(), a_ + 1));
  EXPECT_THROW(executor_.register_module("m", files.write("text.pt", "text")), OperationError);
}

TEST_F(CallTest, ACallHasTheOpClassOfItsOperationUnlessItSaysAnother) {
  Config config = testing::inline_config();
  config.executor.backend = "emulator";
  Executor emulated(ExecutorOptions{.config = config});
  const Operation relu = emulated.operation("aten::relu");
  EXPECT_EQ(relu.op_class(), OpClassSet(OpClass::kGraph));
  EXPECT_TRUE(emulated.run(relu, {a_}).ok());
  EXPECT_TRUE(emulated.call(relu, {a_}, {.op_class = OpClass::kExclusive}).get().ok());
  const Snapshot snapshot = emulated.snapshot();
  EXPECT_EQ(snapshot.lanes[OpClassSet(OpClass::kGraph).lane()].outcomes[0], 1U);
  EXPECT_EQ(snapshot.lanes[OpClassSet(OpClass::kExclusive).lane()].outcomes[0], 1U);
}

TEST_F(CallTest, WrongArgumentsAreThrownAtTheDoorAndNothingIsSubmitted) {
  EXPECT_THROW(static_cast<void>(executor_.call(linear_, {a_, 1})), OperationError);
  EXPECT_THROW(static_cast<void>(executor_.run(linear_, {a_})), OperationError);
  EXPECT_EQ(testing::count_of_ended(executor_.snapshot()), 0U);
}

TEST_F(CallTest, WhatLibtorchThrowsIsRethrown) {
  auto future = executor_.call(linear_, {a_, a_.t().contiguous()});
  EXPECT_THROW(static_cast<void>(future.get()), c10::Error);
  EXPECT_THROW(static_cast<void>(executor_.run(linear_, {a_, a_.t().contiguous()})), c10::Error);
  EXPECT_EQ(count_of(executor_.snapshot(), Outcome::kFailed), 2U);
}

TEST_F(CallTest, AWaitingCallExpiresIsCancelledAndRejectedLikeAnyTask) {
  Blocker blocker(executor_);
  auto expires =
      executor_.call(linear_, {a_, b_}, {.deadline = Clock::now() + std::chrono::milliseconds(5)});
  EXPECT_EQ(expires.get().outcome(), Outcome::kExpired);
  auto cancelled = executor_.call(linear_, {a_, b_});
  EXPECT_EQ(cancelled.cancel(), CancelResult::kCancelled);
  EXPECT_EQ(cancelled.get().outcome(), Outcome::kCancelled);
  std::stop_source stop;
  auto stopped = executor_.call(linear_, {a_, b_}, {.stop = stop.get_token()});
  stop.request_stop();
  EXPECT_EQ(stopped.get().outcome(), Outcome::kCancelled);
}

TEST_F(CallTest, TheQueuesBoundOnBytesKnowsTheTensors) {
  Config config = one_at_a_time();
  config.queue.max_bytes = 200;
  Executor executor{ExecutorOptions{.config = config}};
  Blocker blocker(executor);
  auto fits = executor.call(linear_, {a_, b_});  // 24 + 48 bytes.
  EXPECT_EQ(executor.snapshot().queue.bytes, 72U);
  const std::vector<at::Tensor> many(5, b_);
  auto cat = executor.call(executor.operation("aten::cat"), {many});
  EXPECT_EQ(cat.get().outcome(), Outcome::kBytesFull);
  auto said = executor.call(linear_, {a_, b_}, {.cost_bytes = 128});
  EXPECT_EQ(executor.snapshot().queue.bytes, 200U);
  blocker.end();
  EXPECT_TRUE(fits.get().ok());
  EXPECT_TRUE(said.get().ok());
}

TEST_F(CallTest, TheArgumentsEndWithTheTaskAndNotWithTheFuture) {
  at::Tensor input = a_.clone();
  auto ran = executor_.call(linear_, {input, b_});
  ASSERT_TRUE(ran.wait_for(testing::kGuard));
  EXPECT_EQ(input.use_count(), 1U);
  Blocker blocker(executor_);
  auto cancelled = executor_.call(linear_, {input, b_});
  EXPECT_EQ(cancelled.cancel(), CancelResult::kCancelled);
  EXPECT_EQ(input.use_count(), 1U);
}

TEST_F(CallTest, ACallInsideATaskRunsUnderThePermitOfTheOuterOne) {
  const auto result = executor_.run([&] { return executor_.run(linear_, {a_, b_}).ok(); });
  EXPECT_TRUE(*result);
}

TEST_F(CallTest, ACallForAWorkerIsRefusedWhereThereIsNone) {
  EXPECT_THROW(static_cast<void>(executor_.call(linear_, {a_, b_}, {.place = Place::kWorker})),
               OperationError);
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// Calls in worker processes: the same result as here, to the last bit; once, whatever dies; and
// back where they came from, however they end.
#include <streamgate/executor.h>
#include <streamgate/executor/workers/tensor_memory.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "module_files.h"
#include "random_values.h"
#include "test_operators.h"

namespace streamgate::executor {
namespace {

using c10::IValue;
using testing::Blocker;
using testing::difference;
using testing::eventually;
using testing::kGuard;
using testing::ModuleFiles;
using testing::notes_in;

const CallOptions kInWorker{.place = Place::kWorker};

class OverflowTest : public ::testing::Test {
 protected:
  static Config config() {
    Config config;
    config.executor.backend = "cpu";
    config.executor.threads = 2;
    config.executor.allow_oversubscription = true;
    config.overflow.policy = "when_full";
    config.overflow.workers = 1;
    config.overflow.worker_threads = 0;  // Sums are split alike, whatever this machine's cores.
    config.overflow.worker_command = STREAMGATE_CALLS_WORKER;
    config.overflow.arena_bytes = std::size_t{4} << 20;
    return testing::with_gate(config, OpClass::kRaw, 1, 1);
  }
  /// Waits until its workers are ready.
  void start(const Config& config) {
    executor_ = std::make_unique<Executor>(ExecutorOptions{.config = config});
    const std::size_t wanted = std::min(config.overflow.min_workers, config.overflow.workers);
    ASSERT_TRUE(eventually([&] { return idle() >= wanted; })) << "no worker became ready";
  }
  void start() { start(config()); }
  std::size_t idle() const {
    return executor_->snapshot().workers.states[static_cast<std::size_t>(WorkerState::kIdle)];
  }
  std::uint64_t away(Outcome outcome) const {
    return executor_->snapshot().overflow.outcomes[index_of(outcome)];
  }
  std::string file(const std::string& name) { return files_.write(name, "").string(); }
  static void let_go(const std::string& file) { std::ofstream(file + ".go"); }

  ModuleFiles files_;
  std::unique_ptr<Executor> executor_;
  const at::Tensor x_ = at::arange(12, at::kFloat).reshape({3, 4});
};

TEST_F(OverflowTest, WhileTheGateIsFullACallRunsInAWorker) {
  start();
  const Operation where = executor_->operation("streamgate_tests::process_id");
  EXPECT_EQ(executor_->run(where, {x_})->toInt(), getpid()) << "there is room";
  {
    Blocker blocker(*executor_);
    EXPECT_NE(executor_->call(where, {x_}).get()->toInt(), getpid());
    EXPECT_NE(executor_->run(where, {x_})->toInt(), getpid());
    auto here = executor_->call(where, {x_}, {.place = Place::kHere});
    EXPECT_FALSE(here.wait_for(std::chrono::milliseconds(20)));
    blocker.end();
    EXPECT_EQ(here.get()->toInt(), getpid());
  }
  EXPECT_EQ(away(Outcome::kOk), 2U);
  testing::drain_all(*executor_);
}

TEST_F(OverflowTest, TheSameCallGivesTheSameBytesHereAndThere) {
  start();
  executor_->register_module(
      "m", files_.save("m.pt", R"(
def forward(self, x, scale: float = 0.5):
    y = torch.softmax(torch.linear(x, self.weight), -1)
    return y, {"parts": [y * scale, y[0]]}
)",
                       [](torch::jit::Module& module) {
                         module.register_parameter("weight", at::rand({16, 32}), false);
                       }));
  const at::Tensor image = at::rand({2, 3, 17, 19});
  const at::Tensor wide = at::rand({64, 48}).t();
  const std::vector<std::pair<std::string, std::vector<IValue>>> calls = {
      {"aten::linear", {at::rand({8, 64}), wide, at::rand({48})}},
      {"aten::mm", {at::rand({33, 65}).t(), at::rand({33, 7})}},
      {"aten::conv2d", {image, at::rand({5, 3, 3, 3}), at::rand({5})}},
      {"aten::conv2d", {image.contiguous(at::MemoryFormat::ChannelsLast), at::rand({5, 3, 3, 3})}},
      {"aten::softmax.int", {at::rand({7, 9}, at::kDouble), 1}},
      {"aten::layer_norm", {at::rand({4, 6}), std::vector<std::int64_t>{6}}},
      {"aten::max.dim", {at::randint(100, {5, 6}), 1}},
      {"aten::cat", {std::vector<at::Tensor>{at::rand({2, 3}), at::rand({1, 3})}}},
      {"aten::add.Tensor", {at::rand({3}).expand({5, 3}), at::rand({5, 1}), 3}},
      {"aten::sum", {at::rand({0, 4})}},
      {"aten::cumsum", {at::rand({100'000}), 0}},
      {"aten::fft_fft", {at::rand({64}, at::kComplexDouble)}},
      {"m.forward", {at::rand({5, 32})}},
      {"m.forward", {at::rand({5, 32}).expand({5, 32}), 0.25}},
  };
  for (const auto& [name, inputs] : calls) {
    const Operation operation = executor_->operation(name);
    const Result<IValue> here = executor_->run(operation, inputs, {.place = Place::kHere});
    const Result<IValue> there = executor_->run(operation, inputs, kInWorker);
    ASSERT_TRUE(there.ok()) << name << ": " << to_string(there.outcome());
    EXPECT_EQ(difference(*here, *there), "") << name;
  }
}

TEST_F(OverflowTest, WhatLibtorchThrowsInAWorkerIsRethrownHere) {
  start();
  const Operation linear = executor_->operation("aten::linear");
  try {
    static_cast<void>(executor_->run(linear, {x_, at::rand({3, 3})}, kInWorker));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("shapes cannot be multiplied"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(away(Outcome::kFailed), 1U);
  EXPECT_EQ(executor_->run(executor_->operation("aten::relu"), {x_}, kInWorker).outcome(),
            Outcome::kOk)
      << "the worker lives";
}

TEST_F(OverflowTest, ACallThatMayNotRunTwiceIsBegunOnce) {
  start();
  const std::string notes = file("notes");
  const Operation deadly = executor_->operation("streamgate_tests::deadly");
  const auto result = executor_->run(deadly, {x_, notes, SIGKILL},
                                     {.place = Place::kWorker, .repeat = Repeat::kNever});
  EXPECT_EQ(result.outcome(), Outcome::kWorkerDied);
  EXPECT_NE(result.evidence().find("SIGKILL"), std::string::npos) << result.evidence();
  EXPECT_EQ(notes_in(notes), 1U);
  testing::drain_all(*executor_);
}

TEST_F(OverflowTest, ACallThatMayRunTwiceIsRepeatedByAnotherWorker) {
  start();
  const std::string notes = file("notes");
  const Operation once = executor_->operation("streamgate_tests::deadly_once");
  const auto result = executor_->run(once, {x_, notes}, kInWorker);
  ASSERT_TRUE(result.ok()) << to_string(result.outcome());
  EXPECT_EQ(difference(x_ + 1, *result), "");
  EXPECT_EQ(notes_in(notes), 2U);
}

TEST_F(OverflowTest, ACallThatKillsWorkersIsRefusedWhereverItWouldRun) {
  start();
  const std::string notes = file("notes");
  const Operation deadly = executor_->operation("streamgate_tests::deadly");
  EXPECT_EQ(executor_->run(deadly, {x_, notes, SIGSEGV}, kInWorker).outcome(),
            Outcome::kWorkerDied);
  EXPECT_EQ(notes_in(notes), 2U) << "quarantine_after is less than attempts";
  EXPECT_EQ(executor_->run(deadly, {x_, notes, SIGSEGV}, kInWorker).outcome(),
            Outcome::kQuarantined);
  const auto refused = executor_->call(deadly, {x_.clone(), notes, SIGSEGV}).get();
  EXPECT_EQ(refused.outcome(), Outcome::kQuarantined) << "there is room here, and it would kill us";
  EXPECT_NE(refused.evidence().find("killed 2 workers"), std::string::npos) << refused.evidence();
  EXPECT_NE(refused.evidence().find("SIGSEGV"), std::string::npos) << refused.evidence();
  EXPECT_EQ(notes_in(notes), 2U);
  EXPECT_TRUE(executor_->run(executor_->operation("aten::relu"), {x_}).ok()) << "no other call is";
  const auto quarantined = executor_->snapshot().overflow.quarantined;
  ASSERT_EQ(quarantined.size(), 1U);
  EXPECT_EQ(quarantined[0].operation, "streamgate_tests::deadly");
  EXPECT_EQ(quarantined[0].killed, 2U);
  EXPECT_NE(quarantined[0].evidence.find("SIGSEGV"), std::string::npos) << quarantined[0].evidence;
}

TEST_F(OverflowTest, WhatMustNotLeaveThisProcessStays) {
  start();
  const Operation add_in_place = executor_->operation("aten::add_.Tensor");
  EXPECT_THROW(static_cast<void>(executor_->call(add_in_place, {x_, x_}, kInWorker)),
               OperationError);
  Blocker blocker(*executor_);
  at::Tensor y = x_.clone();
  std::vector<Future<IValue>> stay;
  stay.push_back(executor_->call(add_in_place, {y, 1.0 * x_}));
  stay.push_back(executor_->call(executor_->operation("aten::rand_like"), {x_}));
  stay.push_back(executor_->call(executor_->operation("aten::t"), {x_}));
  blocker.end();
  for (auto& future : stay) EXPECT_TRUE(future.get().ok());
  EXPECT_TRUE(at::equal(y, x_ * 2));
  EXPECT_EQ(away(Outcome::kOk), 0U);
}

TEST_F(OverflowTest, WhatFitsIntoNoWorkerRunsHereInItsTurn) {
  start();
  const Operation relu = executor_->operation("aten::relu");
  const at::Tensor large = at::rand({2 << 20});
  Blocker blocker(*executor_);
  auto future = executor_->call(relu, {large});
  auto sparse = executor_->call(executor_->operation("aten::neg"), {x_.to_sparse()});
  ASSERT_TRUE(eventually([&] { return executor_->snapshot().overflow.returned == 2; }));
  auto cancelled = executor_->call(relu, {large});
  EXPECT_EQ(cancelled.cancel(), CancelResult::kCancelled);
  blocker.end();
  EXPECT_EQ(difference(large, *future.get()), "");
  EXPECT_TRUE(sparse.get().ok());
  EXPECT_EQ(cancelled.get().outcome(), Outcome::kCancelled);
  EXPECT_THROW(static_cast<void>(executor_->run(relu, {large}, kInWorker)), std::exception);
  testing::drain_all(*executor_);
}

TEST_F(OverflowTest, CancellingReachesTheWorker) {
  start();
  const std::string notes = file("notes");
  const Operation waiting = executor_->operation("streamgate_tests::waiting");
  auto running = executor_->call(waiting, {x_, notes}, kInWorker);
  ASSERT_TRUE(eventually([&] { return notes_in(notes) == 1; }));
  std::stop_source stop;
  auto queued =
      executor_->call(waiting, {x_, notes}, {.stop = stop.get_token(), .place = Place::kWorker});
  stop.request_stop();
  EXPECT_EQ(queued.get().outcome(), Outcome::kCancelled);
  EXPECT_EQ(running.cancel(), CancelResult::kRequested);
  EXPECT_EQ(running.get().outcome(), Outcome::kCancelled) << "its worker is killed for it";
  EXPECT_EQ(notes_in(notes), 1U);
}

TEST_F(OverflowTest, ADeadlineEndsACallThatNoWorkerHasBegun) {
  start();
  const std::string notes = file("notes");
  const Operation waiting = executor_->operation("streamgate_tests::waiting");
  auto running = executor_->call(waiting, {x_, notes}, kInWorker);
  auto late = executor_->call(
      waiting, {x_, notes},
      {.deadline = Clock::now() + std::chrono::milliseconds(20), .place = Place::kWorker});
  EXPECT_EQ(late.get().outcome(), Outcome::kExpired);
  let_go(notes);
  EXPECT_TRUE(running.get().ok());
}

TEST_F(OverflowTest, DrainWaitsForCallsThatAreAway) {
  start();
  const std::string notes = file("notes");
  auto running =
      executor_->call(executor_->operation("streamgate_tests::waiting"), {x_, notes}, kInWorker);
  const DrainReport report = executor_->drain(Drain::kFinish, std::chrono::milliseconds(50));
  EXPECT_FALSE(report.drained);
  EXPECT_EQ(report.running, 1U);
  let_go(notes);
  testing::drain_all(*executor_);
  EXPECT_TRUE(running.ready());
  EXPECT_TRUE(running.get().ok());
}

TEST_F(OverflowTest, TheExecutorsEndEndsCallsAndTheirFuturesOutliveIt) {
  Config quick = config();
  quick.executor.drain_timeout = std::chrono::milliseconds(10);
  start(quick);
  const std::string notes = file("notes");
  auto result =
      executor_->run(executor_->operation("aten::cumsum"), {at::ones({100'000}), 0}, kInWorker);
  auto hopeless =
      executor_->call(executor_->operation("streamgate_tests::waiting"), {x_, notes}, kInWorker);
  executor_.reset();
  EXPECT_EQ(hopeless.cancel(), CancelResult::kTooLate);
  EXPECT_EQ(hopeless.get().outcome(), Outcome::kCancelled);
  EXPECT_EQ(difference(at::cumsum(at::ones({100'000}), 0), *result), "")
      << "a result lies in memory of a worker that is gone";
}

TEST_F(OverflowTest, AContinuationMayWaitForAnotherCallOfTheSameWorker) {
  start();
  const Operation relu = executor_->operation("aten::relu");
  auto chained = executor_->call(relu, {x_}, kInWorker).then([&](Result<IValue> first) {
    return executor_->run(relu, {*first}, kInWorker).ok();
  });
  ASSERT_TRUE(chained.wait_for(kGuard)) << "it waits for what its own thread is to hear";
  EXPECT_TRUE(*chained.get());
  testing::drain_all(*executor_);
}

TEST_F(OverflowTest, AContinuationIsToldWhileEveryWorkerOfTheArenaHasTasks) {
  Config busy = config();
  busy.executor.threads = 1;
  start(busy);
  std::atomic<bool> stop{false};
  std::function<void()> again = [&] {
    if (!stop) static_cast<void>(executor_->submit(again));
  };
  static_cast<void>(executor_->submit(again));
  static_cast<void>(executor_->submit(again));
  auto told = executor_->call(executor_->operation("aten::relu"), {x_}, kInWorker)
                  .then([](Result<IValue> result) { return result.ok(); });
  EXPECT_TRUE(told.wait_for(kGuard));
  stop = true;
  testing::drain_all(*executor_);
}

TEST_F(OverflowTest, ASharedTensorIsBuiltInPlace) {
  Config wide = config();
  wide.executor.intra_op_threads = 8;
  start(wide);
  at::Tensor shared = executor_->empty_shared({300, 400}, at::kFloat);
  EXPECT_NE(owner_of(shared), 0U) << "a worker was ready";
  EXPECT_TRUE(shared.is_contiguous());
  shared.copy_(at::rand({300, 400}));
  const Operation sum = executor_->operation("aten::sum");
  const auto before = executor_->snapshot().workers.shared_used_bytes;
  for (int i = 0; i < 50; ++i) {
    const auto here = executor_->run(sum, {shared}, {.place = Place::kHere});
    EXPECT_EQ(difference(*here, *executor_->run(sum, {shared}, kInWorker)), "");
  }
  EXPECT_LT(executor_->snapshot().workers.shared_used_bytes, before + shared.nbytes());
  const at::Tensor too_large = executor_->empty_shared({4 << 20}, at::kFloat);
  EXPECT_EQ(owner_of(too_large), 0U) << "in ordinary memory";
  executor_.reset();
  EXPECT_GT(shared.sum().item<float>(), 0) << "it outlives executor and worker";
}

TEST_F(OverflowTest, ACallGoesToTheWorkerThatSharesItsTensor) {
  Config two = config();
  two.overflow.workers = two.overflow.min_workers = 2;
  start(two);
  // More than half of an arena each, so of two workers.
  const at::Tensor one = executor_->empty_shared({3 << 20}, at::kByte);
  const at::Tensor other = executor_->empty_shared({3 << 20}, at::kByte);
  ASSERT_NE(owner_of(one), owner_of(other));
  const Operation where = executor_->operation("streamgate_tests::process_id");
  const auto worker_of = [&](const at::Tensor& x) {
    return executor_->run(where, {x}, kInWorker)->toInt();
  };
  const auto first = worker_of(one);
  const auto second = worker_of(other);
  EXPECT_NE(first, second);
  EXPECT_EQ(worker_of(other), second);
  EXPECT_EQ(worker_of(one), first) << "not the one that was at work last";
}

TEST_F(OverflowTest, ThePolicyCanBeChangedWhileItRuns) {
  start();
  Config never = config();
  never.overflow.policy = "never";
  EXPECT_TRUE(executor_->apply(never).empty());
  Blocker blocker(*executor_);
  auto stays = executor_->call(executor_->operation("aten::relu"), {x_});
  EXPECT_EQ(executor_->snapshot().overflow.policy, "never");
  EXPECT_FALSE(stays.wait_for(std::chrono::milliseconds(20)));
  blocker.end();
  EXPECT_TRUE(stays.get().ok());
  EXPECT_EQ(away(Outcome::kOk), 0U);
}

TEST_F(OverflowTest, AnExecutorThatCannotHaveWorkersSaysWhy) {
  Config wrong = config();
  wrong.overflow.worker_command = "streamgate";
  EXPECT_THROW(Executor(ExecutorOptions{.config = wrong}), std::invalid_argument);
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// What the graph cache promises, on the CPU: graphs are a stand-in that runs the call again, and
// keeps account of who captures, replays and gives up when. On a device: tests/cuda.
#include <streamgate/executor/backends/graph_cache.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::OpClass;

/// Shared by the test and the cache's device.
struct Account {
  std::size_t bytes_each = 100;
  std::atomic<bool> capturing{false};
  std::atomic<int> captures_that_met{0};
  std::atomic<int> replays_that_met{0};
  std::atomic<int> given_up_without_permit{0};
  std::atomic<int> alive{0};
  const Executor* executor = nullptr;
};

class StandInGraph final : public CapturedGraph {
 public:
  StandInGraph(Account& account, const GraphFunction& function)
      : account_(account), function_(function) {
    ++account_.alive;
  }
  ~StandInGraph() override {
    --account_.alive;
    const Snapshot now = account_.executor->snapshot();
    if (now.gates[index_of(OpClass::kGraph)].in_use == 0) ++account_.given_up_without_permit;
  }
  Tensors replay(const Tensors& inputs) override {
    if (replaying_.exchange(true)) ++account_.replays_that_met;
    Tensors outputs = function_(inputs);
    replaying_ = false;
    return outputs;
  }
  std::size_t bytes() const noexcept override { return account_.bytes_each; }

 private:
  Account& account_;
  GraphFunction function_;
  std::atomic<bool> replaying_{false};
};

class StandInGraphs final : public GraphDevice {
 public:
  explicit StandInGraphs(Account& account) : account_(account) {}
  Tensors on_device(const Tensors& inputs) const override { return inputs; }
  Tensors on_host(const Tensors& outputs) const override { return outputs; }
  std::unique_ptr<CapturedGraph> capture(const GraphFunction& function, const Tensors& inputs,
                                         const Tensors&, GraphResults) override {
    if (account_.capturing.exchange(true)) ++account_.captures_that_met;
    std::this_thread::yield();
    account_.capturing = false;
    // As a device would notice; the negative is this test's sign for it.
    if (inputs.front().numel() == 13) throw NotCapturable("thirteen");
    return std::make_unique<StandInGraph>(account_, function);
  }

 private:
  Account& account_;
};

class GraphCacheTest : public ::testing::Test {
 protected:
  GraphCacheTest() {
    Config config = testing::with_gate(testing::inline_config(), OpClass::kRaw, 8, 8);
    executor_ = std::make_unique<Executor>(ExecutorOptions{.config = config});
    account_.executor = executor_.get();
    make_cache({});
  }
  ~GraphCacheTest() override {
    cache_.reset();
    EXPECT_EQ(account_.alive, 0);
    EXPECT_EQ(account_.captures_that_met, 0);
    EXPECT_EQ(account_.replays_that_met, 0);
    EXPECT_EQ(account_.given_up_without_permit, 0);
  }

  void make_cache(GraphCacheOptions options) {
    cache_.reset();
    cache_ = std::make_unique<GraphCache>(*executor_, std::make_unique<StandInGraphs>(account_),
                                          options);
  }

  Tensors call(const GraphFunction& function, const Tensors& inputs, GraphCall how = {}) {
    return *executor_->run(
        [&](TaskContext& context) { return cache_->run(context, function, inputs, how); });
  }
  /// Often enough to be captured, and then once more.
  void call_often(const GraphFunction& function, const at::Tensor& input) {
    for (int i = 0; i < 4; ++i) static_cast<void>(call(function, {input}));
  }

  Account account_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<GraphCache> cache_;
  GraphFunction twice_{[](const Tensors& inputs) { return Tensors{inputs.front() * 2}; }};
};

TEST_F(GraphCacheTest, CallIsRunThenCapturedThenReplayed) {
  for (int i = 0; i < 10; ++i) {
    const at::Tensor input = at::randn({4});
    EXPECT_TRUE(at::equal(call(twice_, {input}).front(), input * 2));
    EXPECT_EQ(cache_->snapshot().captures, i < 2 ? 0U : 1U) << i;
  }
  const GraphCacheSnapshot seen = cache_->snapshot();
  EXPECT_EQ(seen.eager, 3U);
  EXPECT_EQ(seen.replays, 7U);
  EXPECT_EQ(seen.graphs, 1U);
  EXPECT_EQ(seen.bytes, 100U);
}

TEST_F(GraphCacheTest, WhateverAKernelMayDependOnMakesACallOfItsOwn) {
  const at::Tensor square = at::randn({4, 4});
  call_often(twice_, square);
  EXPECT_EQ(cache_->snapshot().captures, 1U);
  call_often(twice_, square.t());
  EXPECT_EQ(cache_->snapshot().captures, 2U) << "strides";
  call_often(twice_, square.to(at::kDouble));
  EXPECT_EQ(cache_->snapshot().captures, 3U) << "type";
  call_often(twice_, square.reshape({2, 8}));
  EXPECT_EQ(cache_->snapshot().captures, 4U) << "sizes";
  call_often(GraphFunction([](const Tensors& inputs) { return inputs; }), square);
  EXPECT_EQ(cache_->snapshot().captures, 5U) << "function";
  {
    const at::NoGradGuard no_grad;
    call_often(twice_, square);
    EXPECT_EQ(cache_->snapshot().captures, 6U) << "gradients on or off";
  }
  call_often(twice_, square);
  EXPECT_EQ(cache_->snapshot().captures, 6U);
}

TEST_F(GraphCacheTest, CallThatCannotBeCapturedIsTriedOnceAndRun) {
  const at::Tensor input = at::randn({13});
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(at::equal(call(twice_, {input}).front(), input * 2));
  }
  const GraphCacheSnapshot seen = cache_->snapshot();
  EXPECT_EQ(seen.failures, 1U);
  EXPECT_EQ(seen.eager, 10U);
  EXPECT_EQ(seen.not_capturable, std::vector<std::string>{"thirteen"});
}

TEST_F(GraphCacheTest, WhoInsistsGetsAGraphAtOnceOrIsTold) {
  static_cast<void>(call(twice_, {at::randn({4})}, {.use = GraphUse::kAlways}));
  EXPECT_EQ(cache_->snapshot().captures, 1U);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(static_cast<void>(call(twice_, {at::randn({13})}, {.use = GraphUse::kAlways})),
                 NotCapturable);
  }
  EXPECT_EQ(cache_->snapshot().failures, 1U);
}

TEST_F(GraphCacheTest, NeverIsNever) {
  for (int i = 0; i < 5; ++i) {
    static_cast<void>(call(twice_, {at::randn({4})}, {.use = GraphUse::kNever}));
  }
  EXPECT_EQ(cache_->snapshot().captures, 0U);
}

TEST_F(GraphCacheTest, ResultsThatNeedGradientsAreNotReplayed) {
  const at::Tensor input = at::randn({4}).requires_grad_();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(call(twice_, {input}).front().requires_grad());
  EXPECT_EQ(cache_->snapshot().captures, 0U);
  EXPECT_EQ(cache_->snapshot().not_capturable.size(), 1U);
}

TEST_F(GraphCacheTest, OldestCallGoesWhenTheCacheIsFull) {
  make_cache({.max_bytes = 350});
  for (std::int64_t size = 1; size <= 4; ++size) {
    for (int i = 0; i < 40; ++i) static_cast<void>(call(twice_, {at::randn({size})}));
    EXPECT_LE(cache_->snapshot().bytes, 350U);
  }
  EXPECT_EQ(cache_->snapshot().evicted, 1U);
  const std::uint64_t replays = cache_->snapshot().replays;
  for (std::int64_t size = 2; size <= 4; ++size) {
    static_cast<void>(call(twice_, {at::randn({size})}));
  }
  EXPECT_EQ(cache_->snapshot().replays, replays + 3) << "another than the oldest went";
}

TEST_F(GraphCacheTest, MoreCallsInTurnThanFitDoNotDriveEachOtherOut) {
  make_cache({.max_graphs = 3});
  for (int round = 0; round < 50; ++round) {
    for (std::int64_t size = 1; size <= 6; ++size) {
      static_cast<void>(call(twice_, {at::randn({size})}));
    }
  }
  const GraphCacheSnapshot seen = cache_->snapshot();
  EXPECT_EQ(seen.evicted, 0U);
  EXPECT_EQ(seen.captures, 3U);
  EXPECT_GT(seen.replays, 100U);
}

TEST_F(GraphCacheTest, TrimLeavesNoMoreThanItIsTold) {
  for (std::int64_t size = 1; size <= 5; ++size) call_often(twice_, at::randn({size}));
  cache_->trim(250);
  EXPECT_EQ(cache_->snapshot().graphs, 2U);
  EXPECT_EQ(account_.alive, 2);
}

TEST_F(GraphCacheTest, TaskThatFindsNoMemoryFailsAndGraphsGo) {
  call_often(twice_, at::randn({4}));
  const GraphFunction greedy([](const Tensors&) -> Tensors {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "no memory");
    return {};
  });
  EXPECT_THROW(static_cast<void>(call(greedy, {at::randn({4})})), c10::OutOfMemoryError);
  EXPECT_EQ(cache_->snapshot().graphs, 0U);
  call_often(twice_, at::randn({4}));
  EXPECT_EQ(cache_->snapshot().graphs, 1U) << "not captured again";
}

TEST_F(GraphCacheTest, CapturesNeverMeetAndNoGraphIsReplayedTwiceAtOnce) {
  make_cache({.max_graphs = 12});
  std::atomic<int> wrong{0};
  std::vector<std::jthread> clients;
  for (int client = 0; client < 6; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; i < 1'000; ++i) {
        const at::Tensor input = at::full({1 + (i + client) % 5}, static_cast<float>(i));
        if (!at::equal(call(twice_, {input}).front(), input * 2)) ++wrong;
      }
    });
  }
  clients.clear();
  EXPECT_EQ(wrong, 0);
  const GraphCacheSnapshot seen = cache_->snapshot();
  EXPECT_EQ(seen.replays + seen.eager, 6'000U);
  EXPECT_GT(seen.replays, 0U);
  EXPECT_LE(seen.graphs, 12U);
  EXPECT_EQ(account_.alive, static_cast<int>(seen.graphs));
}

}  // namespace
}  // namespace streamgate::executor

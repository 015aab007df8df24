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
#include "../support/stand_in_graphs.h"

namespace streamgate::executor {
namespace {

using policies::OpClass;
using testing::StandInGraphs;

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

  testing::GraphAccount account_;
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
  const GraphFunction greedy_script([](const Tensors&) -> Tensors {
    throw std::runtime_error("in the interpreter: RuntimeError: CUDA out of memory. Tried to ...");
  });
  EXPECT_THROW(static_cast<void>(call(greedy, {at::randn({4})})), c10::OutOfMemoryError);
  EXPECT_EQ(cache_->snapshot().graphs, 0U);
  EXPECT_EQ(account_.memory_given_back, 1) << "what graphs had stays from the device";
  call_often(twice_, at::randn({4}));
  EXPECT_EQ(cache_->snapshot().graphs, 1U) << "not captured again";
  EXPECT_THROW(static_cast<void>(call(greedy_script, {at::randn({4})})), std::runtime_error);
  EXPECT_EQ(cache_->snapshot().graphs, 0U);
}

TEST_F(GraphCacheTest, CaptureThatFindsNoMemoryIsTriedAgain) {
  account_.no_memory = true;
  call_often(twice_, at::randn({4}));
  const GraphCacheSnapshot seen = cache_->snapshot();
  EXPECT_EQ(seen.failures, 1U);
  EXPECT_EQ(account_.memory_given_back, 1);
  EXPECT_EQ(seen.captures, 1U) << "memory comes back; it is no call that cannot be captured";
  EXPECT_TRUE(seen.not_capturable.empty());
}

TEST_F(GraphCacheTest, GraphThatSavesNothingIsKeptForThoseOnlyWhoInsist) {
  account_.pays = false;
  for (int i = 0; i < 10; ++i) static_cast<void>(call(twice_, {at::randn({4})}));
  EXPECT_EQ(cache_->snapshot().graphs, 0U);
  EXPECT_EQ(cache_->snapshot().not_capturable.size(), 1U) << "captured, and dropped, each time";
  static_cast<void>(call(twice_, {at::randn({4})}, {.use = GraphUse::kAlways}));
  EXPECT_EQ(cache_->snapshot().graphs, 1U);
}

TEST_F(GraphCacheTest, WhatAGraphUsesLivesAsLongAsTheGraph) {
  auto weights = std::make_shared<const int>(1);
  const std::weak_ptr<const int> watched = weights;
  const GraphFunction::Identity identity{
      .id = GraphFunction::new_id(), .constants = {1}, .uses = std::move(weights)};
  auto function = std::make_unique<GraphFunction>(
      identity, [](const Tensors& inputs) { return Tensors{inputs.front() * 2}; });
  call_often(*function, at::randn({4}));
  EXPECT_EQ(cache_->snapshot().graphs, 1U);
  const long with_test = watched.use_count();
  EXPECT_GE(with_test, 3) << "the identity, the function and the graph";
  cache_->trim(0);
  EXPECT_LT(watched.use_count(), with_test);
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

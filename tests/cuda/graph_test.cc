// SPDX-License-Identifier: Apache-2.0
//
// Captured calls on a GPU: the same numbers as eager ones, whatever runs beside them, and never a
// graph of what must not be one.
#include <streamgate/executor/backends/cuda.h>
#include <streamgate/executor/backends/cuda_graph.h>
#include <streamgate/executor/backends/graph_cache.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "gpu.h"

namespace streamgate::testing {
namespace {

using executor::GraphCache;
using executor::GraphCacheOptions;
using executor::GraphCall;
using executor::GraphFunction;
using executor::GraphResults;
using executor::GraphUse;
using executor::NotCapturable;
using executor::TaskContext;
using executor::Tensors;
using policies::OpClass;

class CudaGraphCache : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (IsSkipped()) return;
    executor_ = std::make_unique<Executor>(executor::ExecutorOptions{.config = gpu_config()});
    make_cache({});
    const at::NoGradGuard no_grad;
    for (int i = 0; i < 4; ++i) weights_.push_back(at::randn({64, 64}, kGpu));
    static_cast<void>(cudaDeviceSynchronize());
  }

  void make_cache(GraphCacheOptions options) {
    cache_.reset();
    cache_ = std::make_unique<GraphCache>(*executor_,
                                          executor::make_cuda_graphs(executor_->config()), options);
  }

  at::Tensor call(const GraphFunction& function, const at::Tensor& input, GraphCall call = {}) {
    return *executor_->run([&](TaskContext& context) {
      const at::NoGradGuard no_grad;
      return cache_->run(context, function, {input}, call).front();
    });
  }

  /// The function with the cache and without, on inputs of its own.
  void expect_same_as_eager(const GraphFunction& function, const at::Tensor& input,
                            GraphCall how = {}) {
    const at::NoGradGuard no_grad;
    const at::Tensor expected = function({input.to(kGpu)}).front().cpu();
    const at::Tensor result = call(function, input, how);
    EXPECT_EQ(result.is_cuda(), how.results == GraphResults::kDevice);
    EXPECT_TRUE(at::allclose(result.cpu(), expected, 1e-3, 1e-3));
  }

  std::unique_ptr<Executor> executor_;
  std::unique_ptr<GraphCache> cache_;
  std::vector<at::Tensor> weights_;
  GraphFunction network_{[this](const Tensors& inputs) {
    at::Tensor x = inputs.front();
    for (const at::Tensor& weight : weights_) x = at::relu(at::linear(x, weight)) * 0.1;
    return Tensors{x};
  }};
};

TEST_F(CudaGraphCache, ReplaysGiveWhatEagerCallsGive) {
  for (const auto results : {GraphResults::kDevice, GraphResults::kHost}) {
    for (int i = 0; i < 20; ++i) {
      expect_same_as_eager(network_, at::randn({8, 64}, kGpu), {.results = results});
      expect_same_as_eager(network_, at::randn({8, 64}), {.results = results});
      // Strided in ways of its own.
      expect_same_as_eager(network_, at::randn({64, 8}, kGpu).t(), {.results = results});
      expect_same_as_eager(network_, at::randn({16, 64}, kGpu).slice(0, 0, 16, 2),
                           {.results = results});
    }
  }
  const auto seen = cache_->snapshot();
  EXPECT_GT(seen.replays, 100U);
  EXPECT_EQ(seen.captures, 8U);
  EXPECT_EQ(seen.failures, 0U) << seen.not_capturable.front();
}

TEST_F(CudaGraphCache, EveryShapeIsACallOfItsOwn) {
  for (int round = 0; round < 5; ++round) {
    for (const std::int64_t batch : {1, 2, 3, 5, 8}) {
      expect_same_as_eager(network_, at::randn({batch, 64}, kGpu));
    }
  }
  EXPECT_EQ(cache_->snapshot().captures, 5U);
}

TEST_F(CudaGraphCache, ResultsOutliveTheNextReplay) {
  std::vector<std::pair<at::Tensor, at::Tensor>> kept;
  for (int i = 0; i < 30; ++i) {
    const at::Tensor input = at::randn({8, 64}, kGpu);
    kept.emplace_back(call(network_, input), network_({input}).front());
  }
  for (const auto& [result, expected] : kept) {
    EXPECT_TRUE(at::allclose(result, expected, 1e-3, 1e-3));
  }
}

TEST_F(CudaGraphCache, EachCallChangesStateOnce) {
  at::Tensor count = at::zeros({1}, kGpu);
  const GraphFunction counting([count](const Tensors& inputs) {
    count.add_(1);
    return Tensors{inputs.front() + count};
  });
  const at::Tensor input = at::zeros({4}, kGpu);
  for (int i = 1; i <= 20; ++i) {
    EXPECT_EQ(call(counting, input, {.use = GraphUse::kAlways}).cpu()[0].item<float>(),
              static_cast<float>(i));
  }
  EXPECT_GT(cache_->snapshot().replays, 10U);
}

TEST_F(CudaGraphCache, RandomNumbersAreDrawnAnew) {
  const GraphFunction noise(
      [](const Tensors& inputs) { return Tensors{inputs.front() + at::rand({1024}, kGpu)}; });
  at::Tensor before = call(noise, at::zeros({1024}, kGpu)).cpu();
  for (int i = 0; i < 10; ++i) {
    const at::Tensor now = call(noise, at::zeros({1024}, kGpu)).cpu();
    EXPECT_FALSE(at::equal(now, before));
    before = now;
  }
  const auto seen = cache_->snapshot();
  EXPECT_EQ(seen.replays, 0U);
  EXPECT_EQ(seen.failures, 1U);
  std::printf("random: %s\n", seen.not_capturable.front().c_str());
}

TEST_F(CudaGraphCache, CallThatReadsFromTheDeviceIsRunEachTime) {
  const GraphFunction choosing([](const Tensors& inputs) {
    const bool positive = inputs.front().sum().item<float>() > 0;
    return Tensors{positive ? inputs.front() * 2 : inputs.front() * 3};
  });
  for (int i = 0; i < 10; ++i) {
    const float sign = i % 2 == 0 ? 1.0F : -1.0F;
    EXPECT_EQ(call(choosing, at::full({1}, sign, at::TensorOptions(kGpu))).item<float>(),
              i % 2 == 0 ? 2.0F : -3.0F);
  }
  EXPECT_EQ(cache_->snapshot().failures, 1U);
  std::printf("reading: %s\n", cache_->snapshot().not_capturable.front().c_str());
  // Nothing is left of the failed capture, in the stream or in the allocator.
  for (int i = 0; i < 10; ++i) expect_same_as_eager(network_, at::randn({8, 64}, kGpu));
  EXPECT_EQ(cache_->snapshot().captures, 1U);
}

TEST_F(CudaGraphCache, CallThatChangesItsInputIsRunEachTime) {
  const GraphFunction changing([](const Tensors& inputs) {
    at::Tensor(inputs.front()).add_(1);
    return Tensors{inputs.front() * 1};
  });
  for (int i = 0; i < 10; ++i) {
    at::Tensor input = at::zeros({4}, kGpu);
    static_cast<void>(call(changing, input));
    EXPECT_EQ(input.cpu()[0].item<float>(), 1.0F) << i;
  }
  EXPECT_EQ(cache_->snapshot().not_capturable.size(), 1U);
}

TEST_F(CudaGraphCache, WhoInsistsIsTold) {
  const GraphFunction reading([](const Tensors& inputs) {
    static_cast<void>(inputs.front().sum().item<float>());
    return inputs;
  });
  EXPECT_THROW(static_cast<void>(call(reading, at::zeros({4}, kGpu), {.use = GraphUse::kAlways})),
               NotCapturable);
  static_cast<void>(call(network_, at::randn({8, 64}, kGpu), {.use = GraphUse::kAlways}));
  EXPECT_EQ(cache_->snapshot().captures, 1U) << "not captured at the first use";
}

TEST_F(CudaGraphCache, NeverIsNever) {
  for (int i = 0; i < 10; ++i) {
    expect_same_as_eager(network_, at::randn({8, 64}, kGpu), {.use = GraphUse::kNever});
  }
  EXPECT_EQ(cache_->snapshot().captures, 0U);
}

TEST_F(CudaGraphCache, GraphsAreGivenUpAndTheirMemoryWithThem) {
  make_cache({.max_bytes = std::size_t{64} << 20, .max_graphs = 8});
  std::size_t allocated = 0;
  std::size_t reserved = 0;
  for (int round = 0; round < 3; ++round) {
    for (std::int64_t batch = 1; batch <= 40; ++batch) {
      for (int i = 0; i < 4; ++i) expect_same_as_eager(network_, at::randn({batch, 64}, kGpu));
      EXPECT_LE(cache_->snapshot().graphs, 8U);
      EXPECT_LE(cache_->snapshot().bytes, std::size_t{64} << 20);
    }
    const std::size_t now = executor::cuda_memory(0).allocated;
    if (round == 1) {
      allocated = now;
      reserved = executor::cuda_memory(0).reserved;
    }
    if (round == 2) {
      EXPECT_LE(now, allocated + (std::size_t{8} << 20)) << "memory grows";
      // 120 graphs of 2 MiB at least, if each took memory of its own.
      EXPECT_LE(executor::cuda_memory(0).reserved, reserved + (std::size_t{16} << 20));
    }
  }
  EXPECT_GT(cache_->snapshot().evicted, 100U);
}

TEST_F(CudaGraphCache, ManyClientsGetTheRightResultsWhileShapesAreCaptured) {
  constexpr std::size_t kClients = 16;
  constexpr int kCalls = 2'000;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> expected;
  for (std::int64_t batch = 1; batch <= 4; ++batch) {
    inputs.push_back(at::randn({batch, 64}));
    expected.push_back(network_({inputs.back().to(kGpu)}).front().cpu());
  }
  std::atomic<int> wrong{0};
  std::vector<std::jthread> clients;
  for (std::size_t client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937 random(static_cast<unsigned>(client));
      for (int i = 0; i < kCalls; ++i) {
        const std::size_t which = random() % inputs.size();
        const auto results = i % 2 == 0 ? GraphResults::kHost : GraphResults::kDevice;
        const at::Tensor result = call(network_, inputs[which], {.results = results}).cpu();
        if (!at::allclose(result, expected[which], 1e-3, 1e-3)) ++wrong;
      }
    });
  }
  clients.clear();
  EXPECT_EQ(wrong, 0);
  const auto seen = cache_->snapshot();
  EXPECT_EQ(seen.failures, 0U);
  EXPECT_GT(seen.replays, seen.eager);
}

}  // namespace
}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend on a GPU: streams, ends of tasks, and what goes wrong.
#include <streamgate/executor/backends/cuda.h>

#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "gpu.h"

namespace streamgate::testing {
namespace {

using c10::cuda::getCurrentCUDAStream;
using executor::Outcome;
using executor::Priority;
using policies::OpClass;

using CudaBackend = OnGpu;

/// The streams of so many tasks that run at the same time.
std::set<cudaStream_t> streams_at_once(Executor& executor, std::size_t tasks) {
  Countdown together(tasks);
  std::mutex mutex;
  std::set<cudaStream_t> streams;
  std::vector<std::jthread> callers;
  for (std::size_t i = 0; i < tasks; ++i) {
    callers.emplace_back([&] {
      static_cast<void>(executor.run([&] {
        EXPECT_TRUE(together.arrive_and_wait());
        const std::lock_guard lock(mutex);
        streams.insert(getCurrentCUDAStream().stream());
      }));
    });
  }
  return callers.clear(), streams;
}

TEST_F(CudaBackend, TasksHaveStreamsThatNobodyElseHas) {
  Config config = gpu_config();
  policies::GateConfig& raw = config.gates[policies::index_of(OpClass::kRaw)];
  raw.policy = "fixed";
  raw.limit = 12;
  Executor one({.config = config});
  Executor other({.config = config});
  std::set<cudaStream_t> all = streams_at_once(one, 12);
  EXPECT_EQ(all.size(), 12U);
  all.merge(streams_at_once(other, 12));
  EXPECT_EQ(all.size(), 24U) << "two executors share a stream";
  // libtorch's pool, once around and one more.
  for (int i = 0; i < 33; ++i) EXPECT_FALSE(all.count(c10::cuda::getStreamFromPool().stream()));
  EXPECT_FALSE(all.count(c10::cuda::getDefaultCUDAStream().stream()));
}

TEST_F(CudaBackend, StreamsOfAnEndedExecutorAreUsedAgain) {
  std::set<cudaStream_t> first;
  std::set<cudaStream_t> second;
  for (auto* streams : {&first, &second}) {
    Executor executor({.config = gpu_config()});
    *streams = streams_at_once(executor, 3);
  }
  EXPECT_EQ(first, second);
}

TEST_F(CudaBackend, CallerHasItsOwnStreamAgainAfterwards) {
  Executor executor({.config = gpu_config()});
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const cudaStream_t own = getCurrentCUDAStream().stream();
  static_cast<void>(executor.run([&] { EXPECT_NE(getCurrentCUDAStream().stream(), own); }));
  EXPECT_EQ(getCurrentCUDAStream().stream(), own);
}

TEST_F(CudaBackend, FutureComesWhenTheDeviceIsDone) {
  Executor executor({.config = gpu_config()});
  for (int i = 0; i < 20; ++i) {
    at::Tensor mark = unmarked();
    auto future = executor.submit([&mark] {
      encode_a_long_wait();
      encode_a_mark(mark);
    });
    ASSERT_EQ(future.get().outcome(), Outcome::kOk);
    ASSERT_EQ(mark.item<float>(), 1.0F) << "the future came before the device";
  }
}

TEST_F(CudaBackend, RunReturnsWhenTheDeviceIsDone) {
  Executor executor({.config = gpu_config()});
  for (const bool longer_than_the_poll : {true, false, true}) {
    at::Tensor mark = unmarked();
    const auto result = executor.run([&] {
      if (longer_than_the_poll) encode_a_long_wait();
      encode_a_mark(mark);
    });
    ASSERT_EQ(result.outcome(), Outcome::kOk);
    ASSERT_EQ(mark.item<float>(), 1.0F) << "run came back before the device";
  }
}

TEST_F(CudaBackend, WorkerTakesOtherTasksWhileTheDeviceWorks) {
  Executor executor({.config = gpu_config(1)});
  auto slow = executor.submit([] {
    for (int i = 0; i < 20; ++i) encode_a_long_wait();
  });
  auto quick = executor.submit([] { return 1; });
  EXPECT_EQ(quick.get().value(), 1);
  EXPECT_FALSE(slow.ready()) << "the only worker waited for the device";
  EXPECT_EQ(slow.get().outcome(), Outcome::kOk);
}

TEST_F(CudaBackend, ContinuationsMayUseCudaAndWait) {
  Executor executor({.config = gpu_config()});
  constexpr int kChains = 6;
  std::vector<Future<float>> ends;
  for (int i = 0; i < kChains; ++i) {
    ends.push_back(executor.submit([] { encode_a_long_wait(); }).then([&](auto) {
      // Twice what must not be done on a thread of the driver's.
      float sum = at::ones({3}, kGpu).sum().item<float>();
      static_cast<void>(executor.run([&] {
        encode_a_long_wait();
        sum += at::ones({3}, kGpu).sum().item<float>();
      }));
      return sum;
    }));
  }
  for (auto& end : ends) {
    ASSERT_TRUE(end.wait_for(kGuard));
    EXPECT_EQ(end.get().value(), 6.0F);
  }
}

TEST_F(CudaBackend, UrgentTasksHaveMoreUrgentStreams) {
  int least = 0;
  int greatest = 0;
  ASSERT_EQ(cudaDeviceGetStreamPriorityRange(&least, &greatest), cudaSuccess);
  Executor executor({.config = gpu_config()});
  const auto priority_of = [&](Priority priority) {
    return *executor.run({.priority = priority}, [] {
      int value = 99;
      EXPECT_EQ(cudaStreamGetPriority(getCurrentCUDAStream().stream(), &value), cudaSuccess);
      return value;
    });
  };
  EXPECT_EQ(priority_of(Priority::kLowest), least);
  EXPECT_EQ(priority_of(Priority::kNormal), least);
  EXPECT_LE(priority_of(Priority::kHigh), least);
  EXPECT_EQ(priority_of(Priority::kHighest), greatest);
}

TEST_F(CudaBackend, OnlyTheTaskThatFindsNoMemoryFails) {
  Executor executor({.config = gpu_config()});
  auto greedy =
      executor.submit([] { return at::empty({std::int64_t{1} << 45}, at::TensorOptions(kGpu)); });
  EXPECT_THROW(static_cast<void>(greedy.get()), c10::OutOfMemoryError);
  EXPECT_EQ(executor.run([] { return at::ones({2}, kGpu).sum().item<float>(); }).value(), 2.0F);
}

TEST_F(CudaBackend, CaptureThatATaskLeavesOpenIsEnded) {
  Executor executor({.config = gpu_config()});
  static_cast<void>(executor.run({.op_class = OpClass::kGraph}, [] {
    ASSERT_EQ(
        cudaStreamBeginCapture(getCurrentCUDAStream().stream(), cudaStreamCaptureModeThreadLocal),
        cudaSuccess);
  }));
  EXPECT_EQ(executor.run([] { return at::ones({2}, kGpu).sum().item<float>(); }).value(), 2.0F);
}

TEST_F(CudaBackend, OneCaptureAtATimeWhateverTheConfigSays) {
  Config config = gpu_config();
  config.gates[policies::index_of(OpClass::kGraph)].ceiling = 3;
  const Executor executor({.config = config});
  EXPECT_EQ(executor.snapshot().gates[policies::index_of(OpClass::kGraph)].ceiling, 1U);
}

TEST_F(CudaBackend, TensorsOfACallableLiveUntilTheDeviceIsDone) {
  Executor executor({.config = gpu_config()});
  std::vector<Future<bool>> futures;
  for (int i = 0; i < 50; ++i) {
    at::Tensor input = at::full({1 << 20}, static_cast<float>(i), at::TensorOptions(kGpu));
    getCurrentCUDAStream().synchronize();
    at::Tensor sum = at::zeros({1}, at::TensorOptions().pinned_memory(true));
    auto summed = executor.submit([input = std::move(input), sum]() mutable {
      encode_a_long_wait();
      sum.copy_(input.mean(), /*non_blocking=*/true);
    });
    // Takes the memory of whatever this stream has let go of.
    const at::Tensor trash = at::full({1 << 20}, -1.0F, at::TensorOptions(kGpu));
    futures.push_back(std::move(summed).then(
        [sum, i](auto) { return sum.item<float>() == static_cast<float>(i); }));
  }
  for (auto& future : futures) EXPECT_TRUE(future.get().value());
}

TEST_F(CudaBackend, SaysWhatItRunsOnAndHowMuchMemoryItHas) {
  const Executor executor({.config = gpu_config()});
  const executor::Provenance here = executor.provenance();
  EXPECT_NE(here.device.find("sm_"), std::string::npos) << here.device;
  EXPECT_NE(here.driver.find("CUDA "), std::string::npos) << here.driver;
  const at::Tensor held = at::empty({64 << 20}, at::TensorOptions(kGpu).dtype(at::kByte));
  const executor::CudaMemory memory = executor::cuda_memory(0);
  EXPECT_GE(memory.allocated, std::size_t{64} << 20);
  EXPECT_GE(memory.reserved, memory.allocated);
  EXPECT_GT(memory.total, memory.free);
}

TEST_F(CudaBackend, LostDeviceFailsTasksAndHangsNone) {
  const ChildResult child = run_scenario_in_child("lose the device");
  EXPECT_EQ(child.exit_code, 0) << child.out << child.err;
  EXPECT_NE(child.out.find("is lost"), std::string::npos) << child.out;
  EXPECT_NE(child.out.find("Remedy"), std::string::npos) << child.out;
}

TEST_F(CudaBackend, ExecutorMayEndAfterMain) {
  const ChildResult child = run_scenario_in_child("end after main");
  EXPECT_EQ(child.exit_code, 0) << child.out << child.err;
  EXPECT_EQ(child.err.find("CUDA error"), std::string::npos) << child.err;
}

TEST_F(CudaBackend, DeviceThatIsNotThereIsNamed) {
  const ChildResult child = run_scenario_in_child("no such device");
  EXPECT_EQ(child.exit_code, 0) << child.out << child.err;
  EXPECT_NE(child.out.find("cuda.device = 63"), std::string::npos) << child.out;
}

TEST_F(CudaBackend, NoDeviceAtAllIsSaidWithTheRemedy) {
  const ChildResult child = run_scenario_in_child("no device at all");
  EXPECT_EQ(child.exit_code, 0) << child.out << child.err;
  EXPECT_NE(child.out.find("finds no CUDA device"), std::string::npos) << child.out;
  EXPECT_NE(child.out.find("Remedy"), std::string::npos) << child.out;
}

TEST_F(CudaBackend, MemoryOfGraphsThatAreGoneGoesBackToTheDevice) {
  Executor executor({.config = gpu_config()});
  const at::Tensor weight = at::randn({512, 512}, kGpu);
  const auto capture_and_forget = [&] {
    static_cast<void>(executor.run({.op_class = OpClass::kGraph}, [&] {
      const at::NoGradGuard no_grad;
      static_cast<void>(at::mm(weight, weight));  // What the thread makes at its first operation.
      at::cuda::CUDAGraph graph;
      graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      // A pool of 64 MiB at least.
      const at::Tensor large = at::empty({64 << 20}, at::TensorOptions(kGpu).dtype(at::kByte));
      const at::Tensor product = at::mm(weight, weight);
      graph.capture_end();
      graph.replay();
      getCurrentCUDAStream().synchronize();
    }));
  };
  const std::size_t total = executor::cuda_memory(0).total;
  const std::size_t graphs = 2 * total / (std::size_t{64} << 20);
  std::size_t most = 0;
  for (std::size_t i = 0; i < graphs; ++i) {
    capture_and_forget();
    if (i % 16 == 0) most = std::max(most, executor::cuda_memory(0).reserved);
  }
  EXPECT_LT(most, total / 2) << "of " << graphs << " graphs, twice what the device has";
}

}  // namespace
}  // namespace streamgate::testing

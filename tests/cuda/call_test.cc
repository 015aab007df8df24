// SPDX-License-Identifier: Apache-2.0
//
// Calls on a GPU by name: replayed, in other processes, from packages, and what goes wrong with
// them.
#include <streamgate/executor/backends/cuda.h>
#include <streamgate/executor/backends/graph_cache.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../calls/module_files.h"
#include "gpu.h"

namespace streamgate::testing {
namespace {

using c10::IValue;
using executor::Data;
using executor::GraphUse;
using executor::NotCapturable;
using executor::Operation;
using executor::Outcome;
using executor::Place;
using policies::OpClass;

constexpr std::int64_t kWidth = 64;

/// Three layers, with weights that the file brings.
std::filesystem::path save_network(ModuleFiles& files) {
  return files.save("network.pt",
                    "def forward(self, x):\n"
                    "    for i in range(3):\n"
                    "        x = torch.relu(torch.mm(x, self.weight) + self.bias)\n"
                    "    return x\n",
                    [](torch::jit::Module& module) {
                      module.register_parameter("weight", at::randn({kWidth, kWidth}) / 8, false);
                      module.register_parameter("bias", at::randn({kWidth}), false);
                    });
}

class CudaCalls : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (!IsSkipped()) start(gpu_config());
  }
  void start(const Config& config) {
    executor_.reset();
    executor_ = std::make_unique<Executor>(executor::ExecutorOptions{.config = config});
    executor_->register_module("network", file_);
    network_.emplace(executor_->operation("network.forward"));
  }
  at::Tensor run(const at::Tensor& input, const executor::CallOptions& options) {
    return executor_->run(*network_, {input}, options)->toTensor();
  }

  ModuleFiles files_;
  const std::filesystem::path file_ = save_network(files_);
  std::unique_ptr<Executor> executor_;
  std::optional<Operation> network_;
};

TEST_F(CudaCalls, ModulesAreReplayedAndGiveWhatTheyGive) {
  for (const bool on_host : {true, false}) {
    for (int i = 0; i < 20; ++i) {
      const at::Tensor input = at::randn({8, kWidth}, on_host ? at::Device(at::kCPU) : kGpu);
      const Data data = on_host ? Data::kHost : Data::kAsGiven;
      const at::Tensor expected = run(input, {.graph = GraphUse::kNever, .data = data});
      const at::Tensor result = run(input, {.data = data});
      EXPECT_EQ(result.is_cuda(), !on_host);
      EXPECT_TRUE(at::allclose(result.cpu(), expected.cpu(), 1e-4, 1e-4)) << i;
    }
  }
  const auto seen = executor_->snapshot().graphs;
  EXPECT_EQ(seen.captures, 2U) << (seen.not_capturable.empty() ? "" : seen.not_capturable.front());
  EXPECT_GT(seen.replays, 30U);
  EXPECT_GT(seen.bytes, 0U);
}

TEST_F(CudaCalls, ManyCallersOfManyShapesGetTheirResults) {
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> expected;
  for (std::int64_t batch = 1; batch <= 6; ++batch) {
    inputs.push_back(at::randn({batch, kWidth}));
    expected.push_back(run(inputs.back(), {.graph = GraphUse::kNever, .data = Data::kHost}));
  }
  std::atomic<int> wrong{0};
  std::vector<std::jthread> callers;
  for (std::size_t caller = 0; caller < 16; ++caller) {
    callers.emplace_back([&, caller] {
      for (std::size_t i = 0; i < 1'000; ++i) {
        const std::size_t which = (i + caller) % inputs.size();
        const at::Tensor result = run(inputs[which], {.data = Data::kHost});
        if (!at::allclose(result, expected[which], 1e-3, 1e-3)) ++wrong;
      }
    });
  }
  callers.clear();
  EXPECT_EQ(wrong, 0);
  const auto seen = executor_->snapshot().graphs;
  EXPECT_EQ(seen.failures, 0U);
  EXPECT_GT(seen.replays, seen.eager);
}

TEST_F(CudaCalls, OperatorWhoseReplayWouldNotPayIsCapturedOnlyForWhoInsists) {
  const Operation linear = executor_->operation("aten::linear");
  const at::Tensor x = at::randn({4, kWidth}, kGpu);
  const at::Tensor weight = at::randn({kWidth, kWidth}, kGpu);
  static_cast<void>(cudaDeviceSynchronize());
  for (int i = 0; i < 8; ++i) static_cast<void>(executor_->run(linear, {x, weight}));
  EXPECT_EQ(executor_->snapshot().graphs.captures, 0U);
  for (int i = 0; i < 4; ++i) {
    const auto result = executor_->run(linear, {x, weight}, {.graph = GraphUse::kAlways});
    EXPECT_TRUE(at::allclose(result->toTensor(), at::linear(x, weight), 1e-3, 1e-3));
  }
  EXPECT_EQ(executor_->snapshot().graphs.captures, 1U);
  EXPECT_EQ(executor_->snapshot().graphs.replays, 3U);
}

TEST_F(CudaCalls, ArgumentsOnTheWrongDeviceFailThatCallAndSayHowToPassThem) {
  const at::Tensor on_host = at::randn({4, kWidth});
  try {
    static_cast<void>(run(on_host, {}));
    ADD_FAILURE() << "it ran";
  } catch (const std::exception& error) {  // TorchScript's interpreter has an error of its own.
    EXPECT_NE(std::string(error.what()).find("same device"), std::string::npos) << error.what();
  }
  try {
    static_cast<void>(run(on_host, {.graph = GraphUse::kAlways}));
    ADD_FAILURE() << "captured";
  } catch (const NotCapturable& error) {
    EXPECT_NE(std::string(error.what()).find("Data::kHost"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(run(on_host, {.data = Data::kHost}).is_cpu());
}

TEST_F(CudaCalls, OutOfMemoryFailsThatCallEmptiesTheCacheAndLowersTheLimit) {
  Config config = gpu_config();
  config.gates[policies::index_of(OpClass::kRaw)].policy = "aimd";
  config.gates[policies::index_of(OpClass::kRaw)].limit = 40;  // aimd does not go below 20.
  config.executor.streams = 64;
  start(config);
  const at::Tensor input = at::randn({8, kWidth});
  for (int i = 0; i < 8; ++i) static_cast<void>(run(input, {.data = Data::kHost}));
  ASSERT_GT(executor_->snapshot().graphs.graphs, 0U);
  const Operation expand = executor_->operation("aten::repeat");
  const c10::List<std::int64_t> too_many({std::int64_t{1} << 40});
  for (int i = 0; i < 20; ++i) {
    EXPECT_THROW(static_cast<void>(executor_->run(expand, {at::ones({4}, kGpu), too_many})),
                 c10::OutOfMemoryError);
  }
  const executor::Snapshot seen = executor_->snapshot();
  EXPECT_EQ(seen.graphs.graphs, 0U);
  EXPECT_LT(seen.gates[policies::index_of(OpClass::kRaw)].limit, 40U);
  EXPECT_TRUE(run(input, {.data = Data::kHost}).defined()) << "the executor lives";
}

TEST_F(CudaCalls, AModuleThatFindsNoMemoryEmptiesTheCacheToo) {
  const auto file = files_.save("greedy.pt",
                                "def forward(self, x):\n"
                                "    return x.repeat([1099511627776])\n");
  executor_->register_module("greedy", file);
  const Operation greedy = executor_->operation("greedy.forward");
  const at::Tensor input = at::randn({8, kWidth});
  for (int i = 0; i < 8; ++i) static_cast<void>(run(input, {.data = Data::kHost}));
  ASSERT_GT(executor_->snapshot().graphs.graphs, 0U);
  EXPECT_THROW(static_cast<void>(executor_->run(greedy, {at::ones({4}, kGpu)})), std::exception);
  EXPECT_EQ(executor_->snapshot().graphs.graphs, 0U);
}

TEST_F(CudaCalls, WorkersHaveAContextOfTheirOwnAndGiveTheSame) {
  Config config = gpu_config();
  config.overflow.workers = 1;
  config.overflow.policy = "when_full";
  start(config);
  const at::Tensor input = at::randn({8, kWidth});
  const at::Tensor here = run(input, {.place = Place::kHere, .data = Data::kHost});
  const at::Tensor there = run(input, {.place = Place::kWorker, .data = Data::kHost});
  EXPECT_TRUE(there.is_cpu());
  EXPECT_TRUE(at::allclose(there, here, 1e-4, 1e-4));
  EXPECT_THROW(static_cast<void>(run(input.to(kGpu), {.place = Place::kWorker})),
               executor::OperationError)
      << "what is on this process's device is not in a worker's";
}

TEST_F(CudaCalls, WorkerThatLosesItsDeviceIsReplacedAndThisProcessKeepsIts) {
  Config config = gpu_config();
  config.overflow.workers = 1;
  config.overflow.policy = "when_full";
  config.overflow.attempts = 1;
  start(config);
  executor_->register_module("index",
                             files_.save("index.pt",
                                         "def forward(self, x, indices):\n"
                                         "    return torch.index_select(x, 0, indices)\n"));
  const at::Tensor values = at::ones({4});
  const at::Tensor indices = at::full({64}, 1'000'000, at::TensorOptions().dtype(at::kLong));
  const executor::CallOptions in_worker{.place = Place::kWorker, .data = Data::kHost};
  const at::Tensor input = at::randn({8, kWidth});
  // What an operator throws, a method's interpreter throws as something else.
  const std::vector<std::pair<const char*, std::vector<IValue>>> fatal = {
      {"aten::index_select", {values, 0, indices}}, {"index.forward", {values, indices}}};
  for (const auto& [name, arguments] : fatal) {
    const auto lost = executor_->run(executor_->operation(name), arguments, in_worker);
    EXPECT_EQ(lost.outcome(), Outcome::kWorkerDied) << name;
    EXPECT_TRUE(run(input, in_worker).defined()) << name;
    EXPECT_TRUE(run(input, {.place = Place::kHere, .data = Data::kHost}).defined()) << name;
  }
  EXPECT_GE(executor_->snapshot().workers.starts, 3U);
}

/// Packages that export_packages.py made: NAME.pt2, NAME.input and NAME.expected, numbers as they
/// are in memory.
class CudaPackages : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    const char* const folder = std::getenv("STREAMGATE_PACKAGES");
    if (folder == nullptr) GTEST_SKIP() << "STREAMGATE_PACKAGES names no packages";
    folder_ = folder;
  }
  at::Tensor read(const std::string& file) const {
    std::ifstream stream(folder_ / file, std::ios::binary);
    at::Tensor numbers = at::empty({8, 256});
    stream.read(static_cast<char*>(numbers.data_ptr()),
                static_cast<std::streamsize>(numbers.nbytes()));
    EXPECT_TRUE(stream.good()) << file;
    return numbers;
  }

  std::filesystem::path folder_;
};

TEST_F(CudaPackages, PackageOfTheDeviceServesManyCallers) {
  for (const std::string device : {"cuda", "cpu"}) {
    Config config = gpu_config();
    config.executor.backend = device;
    Executor executor({.config = config});
    executor.register_module("net", folder_ / (device + ".pt2"));
    const Operation net = executor.operation("net.forward");
    EXPECT_EQ(net.kind(), Operation::Kind::kPackage);
    const at::Tensor input = read(device + ".input");
    const at::Tensor expected = read(device + ".expected");
    std::atomic<int> wrong{0};
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 8; ++caller) {
      callers.emplace_back([&] {
        for (int i = 0; i < 200; ++i) {
          const at::Tensor result = executor.run(net, {input}, {.data = Data::kHost})->toTensor();
          if (!result.is_cpu() || !at::allclose(result, expected, 1e-2, 1e-2)) ++wrong;
        }
      });
    }
    callers.clear();
    EXPECT_EQ(wrong, 0) << device;
    EXPECT_THROW(static_cast<void>(executor.run(net, {input, input})), executor::OperationError);
    if (device == "cuda") {
      EXPECT_THROW(static_cast<void>(executor.run(net, {input})), executor::OperationError);
      EXPECT_THROW(executor.register_module("other", folder_ / "cpu.pt2"),
                   executor::OperationError);
    }
  }
}

}  // namespace
}  // namespace streamgate::testing

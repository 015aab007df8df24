// SPDX-License-Identifier: Apache-2.0
//
// Operations in worker processes of `streamgate worker`: the same bytes as here, modules that are
// loaded once, results that are not copied, and what operations say when they fail.
#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/workers/arena_allocator.h>
#include <streamgate/executor/workers/call_request.h>
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/tensor_memory.h>
#include <streamgate/executor/workers/worker_pool.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../calls/random_values.h"
#include "channel_pair.h"
#include "operator_call.h"

namespace streamgate::executor {
namespace {

using c10::IValue;
using testing::difference;
using testing::OperatorCall;

WorkerPoolOptions torch_options() {
  WorkerPoolOptions options;
  options.supervisor.program = STREAMGATE_COMMAND;
  options.supervisor.channel = {.host_arena_bytes = 8 << 20, .worker_arena_bytes = 8 << 20};
  options.supervisor.identity = loaded_torch_identity();
  return options;
}

/// One pool for all tests that leave it as it is: its worker takes half a second to start.
WorkerPool& shared_pool() {
  static WorkerPool pool(torch_options());
  return pool;
}

IValue call(WorkerPool& pool, const Operation& operation, std::vector<IValue> inputs) {
  OperatorCall made(request_values(operation, operation.bind(std::move(inputs))));
  pool.submit(made, {});
  return made.wait();
}

const ModuleRegistry& no_modules() {
  static const ModuleRegistry modules("cpu");
  return modules;
}

/// What is different between the operator's result here and in a worker.
std::string difference_of(const char* name, const std::vector<IValue>& inputs) {
  at::set_num_threads(1);
  const Operation operation = Operation::resolve(name, no_modules(), nullptr);
  const IValue here = operation.run(operation.bind(inputs));
  return difference(here, call(shared_pool(), operation, inputs));
}

TEST(WorkerCalls, FirstRunsOfAnOperationAreSaidToBeThat) {
  WorkerPool pool(torch_options());
  for (const char* name : {"aten::relu", "aten::neg"}) {
    const Operation operation = Operation::resolve(name, no_modules(), nullptr);
    for (int i = 0; i < 5; ++i) {
      OperatorCall made(request_values(operation, operation.bind({at::ones({2})})));
      pool.submit(made, {});
      static_cast<void>(made.wait());
      EXPECT_EQ(made.first_runs, i < 3) << name << ", run " << i;
    }
  }
}

TEST(WorkerCalls, OperatorsGiveTheSameBytesThereAsHere) {
  at::manual_seed(1);
  const at::Tensor a = at::randn({32, 48});
  const at::Tensor b = at::randn({48, 16});
  const at::Tensor image = at::randn({2, 3, 32, 32});
  const at::Tensor kernel = at::randn({8, 3, 3, 3});
  const at::Tensor bias = at::randn({8});
  const at::Tensor batch = at::randn({4, 8, 8});
  const at::Tensor whole = at::arange(0, 120).view({10, 12});
  const std::vector<std::pair<const char*, std::vector<IValue>>> cases = {
      {"aten::mm", {a, b}},
      {"aten::linear", {a, at::randn({24, 48}), at::randn({24})}},
      {"aten::addmm", {at::randn({16}), a, b}},
      {"aten::bmm", {batch, batch}},
      {"aten::conv2d", {image, kernel, bias}},
      {"aten::softmax.int", {a, 1}},
      {"aten::log_softmax.int", {a, 1}},
      {"aten::layer_norm", {a, c10::List<std::int64_t>({48})}},
      {"aten::relu", {a}},
      {"aten::gelu", {a}},
      {"aten::tanh", {a}},
      {"aten::exp", {a}},
      {"aten::add.Tensor", {a, a}},
      {"aten::add.Scalar", {a, 2.5}},
      {"aten::sum", {a}},
      {"aten::mean", {a}},
      {"aten::var", {a, true}},
      {"aten::max.dim", {a, 1}},
      {"aten::topk", {a, 5}},
      {"aten::sort", {a}},
      {"aten::cumsum", {a, 0}},
      {"aten::cat", {c10::List<at::Tensor>({a, a}), 1}},
      {"aten::transpose.int", {a, 0, 1}},
      {"aten::contiguous", {a.t()}},
      {"aten::mul.Tensor", {a.t(), a.t()}},
      {"aten::narrow", {whole, 1, 2, 5}},
      {"aten::index_select", {whole, 0, at::tensor({1, 3, 3})}},
      {"aten::embedding", {a, at::tensor({0, 5, 31})}},
      {"aten::eq.Tensor", {a, a}},
      {"aten::split.Tensor", {a, 10}},
      {"aten::linalg_qr", {at::randn({6, 6})}},
      {"aten::relu", {at::empty({0, 7})}},
      {"aten::neg", {at::scalar_tensor(3)}},
      {"aten::abs", {at::randn({5, 5}, at::kDouble)}},
      {"aten::max_pool2d", {image, c10::List<std::int64_t>({2, 2})}},
      {"aten::upsample_nearest2d", {image, c10::List<std::int64_t>({64, 64})}},
      {"aten::batch_norm", {image, {}, {}, at::zeros({3}), at::ones({3}), false, 0.1, 1e-5, false}},
  };
  for (const auto& [name, inputs] : cases) {
    try {
      EXPECT_EQ(difference_of(name, inputs), "") << name;
    } catch (const std::exception& error) {
      ADD_FAILURE() << name << ": " << error.what();
    }
  }
}

TEST(WorkerCalls, LargeTensorsGiveTheSameBytesThereAsHere) {
  const at::Tensor large = at::randn({512, 1024});
  EXPECT_EQ(difference_of("aten::relu", {large}), "");
  EXPECT_EQ(difference_of("aten::add.Tensor", {large.t(), large.t()}), "");
  EXPECT_EQ(difference_of("aten::mm", {large, large.t()}), "");
}

TEST(WorkerCalls, AFailingOperatorSaysThereWhatItSaysHere) {
  const Operation mm = Operation::resolve("aten::mm", no_modules(), nullptr);
  std::string here;
  try {
    static_cast<void>(mm.run({at::ones({2, 3}), at::ones({2, 3})}));
  } catch (const c10::Error& error) {
    here = error.what_without_backtrace();
  }
  OperatorCall failing(request_values(mm, {at::ones({2, 3}), at::ones({2, 3})}));
  shared_pool().submit(failing, {});
  EXPECT_THROW(static_cast<void>(failing.wait()), std::runtime_error);
  EXPECT_EQ(failing.how, CallResult::kFailed);
  EXPECT_EQ(failing.text, here);
}

TEST(WorkerCalls, NothingOfTheArenasIsHeldOnceResultsAreDropped) {
  const Operation relu = Operation::resolve("aten::relu", no_modules(), nullptr);
  // More than the arenas hold, if any of it stayed.
  for (int i = 0; i < 40; ++i) {
    const at::Tensor large = at::randn({256, 1024});
    const IValue result = call(shared_pool(), relu, {large});
    ASSERT_EQ(result.toTensor().sum().item<float>(), at::relu(large).sum().item<float>());
  }
  EXPECT_TRUE(testing::eventually([] { return shared_pool().snapshot().shared_used_bytes == 0; }));
}

TEST(WorkerCalls, MoreResultsThanTheArenaHoldsWaitForRoomOrFailWithAReason) {
  WorkerPoolOptions options = torch_options();
  options.supervisor.channel = {.host_arena_bytes = 1 << 20, .worker_arena_bytes = 1 << 20};
  WorkerPool pool(options);
  const Operation zeros = Operation::resolve("aten::zeros", no_modules(), nullptr);
  OperatorCall impossible(request_values(zeros, zeros.bind({c10::List<std::int64_t>({1 << 20})})));
  pool.submit(impossible, {});
  EXPECT_THROW(static_cast<void>(impossible.wait()), std::runtime_error);
  EXPECT_NE(impossible.text.find("arena"), std::string::npos) << impossible.text;

  IValue kept = call(pool, zeros, {c10::List<std::int64_t>({150'000})});
  OperatorCall waiting(request_values(zeros, zeros.bind({c10::List<std::int64_t>({150'000})})));
  pool.submit(waiting, {});
  kept = {};
  EXPECT_EQ(waiting.wait().toTensor().numel(), 150'000);
}

// ---- modules ------------------------------------------------------------------------------------

/// A TorchScript file, gone with its object.
struct ModuleInFile {
  explicit ModuleInFile(const std::string& name)
      : path(std::filesystem::temp_directory_path() /
             ("streamgate-" + name + "-" + std::to_string(getpid()) + ".pt")) {
    torch::jit::Module module(name);
    module.register_parameter("weight", at::randn({64, 64}), false);
    module.define(R"(
      def forward(self, x):
        h = torch.relu(torch.matmul(x, self.weight))
        return h, {"sum": h.sum(), "mean": h.mean()}
    )");
    module.save(path.string());
  }
  ~ModuleInFile() { std::filesystem::remove(path); }
  std::filesystem::path path;
};

TEST(WorkerCalls, AModulesMethodGivesTheSameBytesThereAsHereAndIsLoadedBeforeItsFirstCall) {
  at::set_num_threads(1);
  ModuleRegistry modules("cpu");
  WorkerPoolOptions options = torch_options();
  Operation forward = Operation::resolve("aten::relu", modules, nullptr);
  std::unique_ptr<WorkerPool> pool;
  {
    const ModuleInFile file("encoder");
    static_cast<void>(modules.add({.name = "encoder", .path = file.path}));
    forward = Operation::resolve("encoder.forward", modules, nullptr);
    options.supervisor.configuration = modules_text(modules.files());
    pool = std::make_unique<WorkerPool>(options);
    ASSERT_TRUE(testing::eventually([&] { return pool->load().ready == 1; }));
  }
  // The file is gone: what is not loaded yet cannot be any more.
  for (int i = 0; i < 3; ++i) {
    const at::Tensor input = at::randn({16, 64});
    EXPECT_EQ(difference(forward.run(forward.bind({input})), call(*pool, forward, {input})), "");
  }
}

TEST(WorkerCalls, AModuleThatCameLaterIsLoadedWithItsFirstCallAndOnce) {
  at::set_num_threads(1);
  ModuleRegistry modules("cpu");
  Operation forward = Operation::resolve("aten::relu", modules, nullptr);
  const at::Tensor input = at::randn({16, 64});
  {
    const ModuleInFile file("later");
    static_cast<void>(modules.add({.name = "later", .path = file.path}));
    forward = Operation::resolve("later.forward", modules, nullptr);
    EXPECT_EQ(difference(forward.run(forward.bind({input})), call(shared_pool(), forward, {input})),
              "");
  }
  EXPECT_EQ(difference(forward.run(forward.bind({input})), call(shared_pool(), forward, {input})),
            "");
}

TEST(WorkerCalls, AModuleThatCannotBeLoadedMakesTheWorkerUnfitAndIsNamed) {
  WorkerPoolOptions options = torch_options();
  options.supervisor.configuration =
      modules_text({{.name = "encoder", .path = "/nonexistent/encoder.pt", .digest = 1}});
  options.supervisor.restart.breaker_deaths = 1;
  WorkerPool pool(options);
  const Operation relu = Operation::resolve("aten::relu", no_modules(), nullptr);
  OperatorCall refused(request_values(relu, {at::ones({2})}));
  pool.submit(refused, {});
  EXPECT_THROW(static_cast<void>(refused.wait()), std::runtime_error);
  EXPECT_EQ(refused.how, CallResult::kRefused);
  EXPECT_NE(refused.text.find("/nonexistent/encoder.pt"), std::string::npos) << refused.text;
}

// ---- where results lie --------------------------------------------------------------------------

TEST(ArenaAllocation, LargeResultsLieInTheArenaAndAreLentNotCopied) {
  testing::ChannelPair pair;
  const at::Tensor input = at::randn({128, 256});
  at::Tensor result;
  at::Tensor small;
  {
    const ArenaAllocation in_arena(pair.worker);
    result = at::relu(input);
    small = at::relu(input[0]);
  }
  ASSERT_NE(block_of(result), nullptr);
  EXPECT_EQ(block_of(small), nullptr) << "its elements travel in the frame";
  const std::optional<EncodedValues> encoded = encode({result}, pair.worker, testing::guard());
  ASSERT_TRUE(encoded);
  EXPECT_LT(encoded->copied_bytes(), 1'000U) << "the frame only";
  EXPECT_EQ(encoded->lent_bytes(), std::size_t{128} * 256 * 4);
}

TEST(ArenaAllocation, WhatDoesNotFitLiesInOrdinaryMemory) {
  testing::ChannelPair pair;
  const ArenaAllocation in_arena(pair.worker);
  const at::Tensor large = at::ones({1 << 20});
  EXPECT_EQ(block_of(large), nullptr);
  EXPECT_EQ(large.sum().item<float>(), 1 << 20);
}

TEST(ArenaAllocation, MemoryMayBeTakenAndGivenBackByItsAddressAlone) {
  testing::ChannelPair pair;
  const ArenaAllocation in_arena(pair.worker);
  c10::Allocator& allocator = *c10::GetAllocator(c10::DeviceType::CPU);
  for (const std::size_t bytes : {std::size_t{64}, std::size_t{1} << 16, std::size_t{1} << 24}) {
    void* const address = allocator.raw_allocate(bytes);
    std::memset(address, 1, bytes);
    EXPECT_EQ(pair.worker.used_bytes() != 0, bytes == 1 << 16);
    allocator.raw_deallocate(address);
    EXPECT_EQ(pair.worker.used_bytes(), 0U);
  }
}

TEST(ArenaAllocation, AfterwardsMemoryIsOrdinary) {
  testing::ChannelPair pair;
  { const ArenaAllocation in_arena(pair.worker); }
  EXPECT_EQ(block_of(at::ones({1 << 16})), nullptr);
  EXPECT_EQ(pair.worker.used_bytes(), 0U);
}

}  // namespace
}  // namespace streamgate::executor

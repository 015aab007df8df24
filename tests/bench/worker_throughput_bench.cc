// SPDX-License-Identifier: Apache-2.0
//
// What workers bring: a model that is bound by the cores, here and in workers, and an emulated
// device that is safe at a width of two, alone and with workers beside it. Each iteration is a
// batch of calls.
#include <benchmark/benchmark.h>
#include <torch/csrc/jit/api/module.h>

#include <ATen/ATen.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench_operators.h"

namespace streamgate::bench {
namespace {

using namespace std::chrono_literals;
using c10::IValue;

void run_batch(Executor& executor, const Operation& operation, const std::vector<IValue>& inputs,
               const CallOptions& options, std::size_t calls) {
  std::vector<Future<IValue>> futures;
  futures.reserve(calls);
  for (std::size_t i = 0; i < calls; ++i) {
    futures.push_back(executor.call(operation, inputs, options));
  }
  for (Future<IValue>& future : futures) {
    if (!future.get().ok()) throw std::runtime_error("a call did not end well");
  }
}

// ---- a model ----

constexpr std::int64_t kRows = 256;
constexpr std::int64_t kFewRows = 32;
/// A batch is so many rows.
constexpr std::int64_t kRowsOfBatch = 2'048;

/// Six linear layers of 512 with relu. On 256 rows the cores are what it waits for. On 32 a third
/// of its time goes into reading the weights out of the cache, and each process has its own there.
std::string model_file() {
  static const std::string file = [] {
    torch::jit::Module module("Root");
    std::string body = "def forward(self, x):\n";
    for (int layer = 0; layer < 6; ++layer) {
      const std::string weight = "w" + std::to_string(layer);
      module.register_parameter(weight, at::rand({512, 512}) / 512, false);
      body.append("    x = torch.relu(torch.linear(x, self.").append(weight).append("))\n");
    }
    module.define(body + "    return x\n");
    const std::string path = (scratch_folder() / "model.pt").string();
    module.save(path);
    return path;
  }();
  return file;
}

/// So many tasks at once here, one intra-op thread each; and workers, if any.
void run_model(benchmark::State& state, std::int64_t rows, std::size_t width, std::size_t workers) {
  Config config;
  config.executor.threads = width;
  config.executor.intra_op_threads = 1;
  config.executor.allow_oversubscription = true;
  auto& gate = config.gates[policies::index_of(OpClass::kRaw)];
  gate.policy = "fixed";
  gate.limit = gate.ceiling = width;
  const std::unique_ptr<Executor> executor = make_executor(std::move(config), workers);
  executor->register_module("model", model_file());
  const Operation forward = executor->operation("model.forward");
  const CallOptions options{.op_class = OpClass::kRaw,
                            .place = workers == 0 ? Place::kHere : Place::kWorker};
  const std::vector<IValue> inputs = {at::rand({rows, 512})};
  const auto calls = static_cast<std::size_t>(kRowsOfBatch / rows);
  for (int i = 0; i < 4; ++i) run_batch(*executor, forward, inputs, options, calls);
  for (auto _ : state) run_batch(*executor, forward, inputs, options, calls);
}

void model_here_1(benchmark::State& state) { run_model(state, kRows, 1, 0); }
void model_here_2(benchmark::State& state) { run_model(state, kRows, 2, 0); }
void model_here_4(benchmark::State& state) { run_model(state, kRows, 4, 0); }
void model_in_2_workers(benchmark::State& state) { run_model(state, kRows, 1, 2); }
void model_here_1_few_rows(benchmark::State& state) { run_model(state, kFewRows, 1, 0); }
void model_here_2_few_rows(benchmark::State& state) { run_model(state, kFewRows, 2, 0); }
void model_here_4_few_rows(benchmark::State& state) { run_model(state, kFewRows, 4, 0); }
void model_in_2_workers_few_rows(benchmark::State& state) { run_model(state, kFewRows, 1, 2); }

// ---- a device ----

constexpr std::chrono::microseconds kExecute = 5ms;
constexpr std::size_t kDeviceCalls = 200;

/// Warm means: the policy has seen both ways.
void run_device(benchmark::State& state, std::size_t workers) {
  const std::unique_ptr<Executor> executor =
      make_executor(emulated_config(scratch_folder(), kExecute, 2), workers);
  const Operation step = executor->operation(kDeviceStep);
  const std::vector<IValue> inputs = {at::ones({1}), IValue(std::int64_t{kExecute.count()})};
  const CallOptions options{.op_class = OpClass::kKernel};
  run_batch(*executor, step, inputs, options, 2 * kDeviceCalls);
  for (auto _ : state) run_batch(*executor, step, inputs, options, kDeviceCalls);
}

void device_here(benchmark::State& state) { run_device(state, 0); }
void device_with_8_workers(benchmark::State& state) { run_device(state, 8); }

BENCHMARK(model_here_1)->UseRealTime();
BENCHMARK(model_here_2)->UseRealTime();
BENCHMARK(model_here_4)->UseRealTime();
BENCHMARK(model_in_2_workers)->UseRealTime();
BENCHMARK(model_here_1_few_rows)->UseRealTime();
BENCHMARK(model_here_2_few_rows)->UseRealTime();
BENCHMARK(model_here_4_few_rows)->UseRealTime();
BENCHMARK(model_in_2_workers_few_rows)->UseRealTime();
BENCHMARK(device_here)->UseRealTime();
BENCHMARK(device_with_8_workers)->UseRealTime();

}  // namespace
}  // namespace streamgate::bench

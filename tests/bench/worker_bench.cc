// SPDX-License-Identifier: Apache-2.0
//
// What a call costs on its way to a worker process and back: a small one beside two processes that
// do nothing but wake each other, and 64 MiB in and out beside copying them once.
#include <benchmark/benchmark.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/peer_watch.h>
#include <streamgate/executor/workers/protocol.h>
#include <streamgate/executor/workers/shared_futex.h>
#include <streamgate/executor/workers/shared_memory.h>
#include <streamgate/executor/workers/tensor_memory.h>
#include <streamgate/executor/workers/worker_pool.h>
#include <torch/types.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "workers/operator_call.h"

namespace streamgate::bench {
namespace {

using namespace executor;
using namespace std::chrono_literals;
using c10::IValue;

constexpr std::size_t kLarge = std::size_t{64} << 20;

std::chrono::steady_clock::time_point guard() { return std::chrono::steady_clock::now() + 60s; }

/// Started once, with the pages of its channel touched, as a service's are.
WorkerPool& warm_pool() {
  static auto& pool = *new WorkerPool(
      {.supervisor = {.program = STREAMGATE_COMMAND,
                      .channel = {.host_arena_bytes = 2 * kLarge, .worker_arena_bytes = 2 * kLarge},
                      .identity = loaded_torch_identity()}});
  return pool;
}

std::vector<IValue> request_of(const char* operation, std::vector<IValue> arguments) {
  std::vector<IValue> request{operation, {}, {}, {}};
  request.insert(request.end(), arguments.begin(), arguments.end());
  return request;
}

IValue call(std::vector<IValue> request) {
  testing::OperatorCall made(std::move(request));
  warm_pool().submit(made, {});
  return made.wait();
}

/// The bare futex: each sleeps at once, and wakes the other.
struct PingPong {
  std::atomic<std::uint32_t> turn;
};

void worker_futex_ping_pong(benchmark::State& state) {
  SharedMemory memory = SharedMemory::create(4'096);
  auto& shared = *reinterpret_cast<PingPong*>(memory.data());
  WorkerProcess other({.program = STREAMGATE_WORKERS_PEER,
                       .arguments = {"ping-pong"},
                       .descriptors = {{memory.descriptor(), kChannelInWorker}}});
  for (auto _ : state) {
    shared.turn.store(1);
    wake_on_shared(shared.turn);
    while (shared.turn.load() == 1) sleep_on_shared(shared.turn, 1, guard());
  }
  shared.turn.store(2);
  wake_on_shared(shared.turn);
}

void worker_small_call(benchmark::State& state) {
  const at::Tensor small = torch::ones({4});
  const std::vector<IValue> request = request_of("aten::neg", {small});
  call(request);
  for (auto _ : state) benchmark::DoNotOptimize(call(request));
}

void worker_memcpy_64_mib(benchmark::State& state) {
  const at::Tensor from = torch::ones({static_cast<std::int64_t>(kLarge)}, torch::kUInt8);
  const at::Tensor to = torch::ones_like(from);
  for (auto _ : state) {
    std::memcpy(to.data_ptr(), from.data_ptr(), kLarge);
    benchmark::ClobberMemory();
  }
}

/// The operator makes 64 MiB and touches none of them, so what is measured is the way.
void worker_call_64_mib(benchmark::State& state) {
  const at::Tensor large = torch::ones({static_cast<std::int64_t>(kLarge)}, torch::kUInt8);
  const std::vector<IValue> request = request_of("aten::empty_like", {large, {}, {}, {}, {}, {}});
  for (int i = 0; i < 3; ++i) call(request);
  for (auto _ : state) benchmark::DoNotOptimize(call(request));
}

void worker_call_64_mib_in_place(benchmark::State& state) {
  call(request_of("aten::neg", {torch::ones({4})}));
  std::optional<WorkerPool::SharedBlock> shared = warm_pool().allocate(kLarge);
  if (!shared) throw std::runtime_error("no room");
  const at::Tensor large = tensor_in(
      tensor_memory(std::make_shared<const Block>(std::move(shared->block))), kLarge,
      {.dtype = torch::kUInt8, .sizes = {static_cast<std::int64_t>(kLarge)}, .strides = {1}});
  large.fill_(1);
  const std::vector<IValue> request = request_of("aten::empty_like", {large, {}, {}, {}, {}, {}});
  for (int i = 0; i < 3; ++i) call(request);
  for (auto _ : state) benchmark::DoNotOptimize(call(request));
}

BENCHMARK(worker_futex_ping_pong)->UseRealTime();
BENCHMARK(worker_small_call)->UseRealTime();
BENCHMARK(worker_memcpy_64_mib)->UseRealTime();
BENCHMARK(worker_call_64_mib)->UseRealTime();
BENCHMARK(worker_call_64_mib_in_place)->UseRealTime();

}  // namespace
}  // namespace streamgate::bench

// SPDX-License-Identifier: Apache-2.0
//
// What a call costs on its way to a worker process and back: a small one beside two processes that
// do nothing but wake each other, and 64 MiB in and out beside copying them once.
#include <benchmark/benchmark.h>
#include <streamgate/executor/workers/protocol.h>
#include <streamgate/executor/workers/shared_futex.h>
#include <streamgate/executor/workers/shared_memory.h>
#include <streamgate/executor/workers/worker_process.h>

#include <ATen/ATen.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bench_operators.h"

namespace streamgate::bench {
namespace {

using namespace std::chrono_literals;
using c10::IValue;

constexpr std::size_t kLarge = std::size_t{64} << 20;
const CallOptions kInWorker{.place = Place::kWorker};

/// Started once, and never ended but with the process: what is measured is not the start.
Executor& one_worker() {
  static auto& executor = *[] {
    Config config;
    config.executor.threads = 1;
    config.overflow.arena_bytes = 3 * kLarge;
    return make_executor(std::move(config), 1).release();
  }();
  return executor;
}

IValue call(const Operation& operation, const std::vector<IValue>& inputs) {
  executor::Result<IValue> result = one_worker().run(operation, inputs, kInWorker);
  if (!result.ok()) throw std::runtime_error("the call did not end well");
  return *std::move(result);
}

/// The bare futex: each sleeps at once, and wakes the other.
struct PingPong {
  std::atomic<std::uint32_t> turn;
};

void worker_futex_ping_pong(benchmark::State& state) {
  using namespace executor;
  const auto guard = std::chrono::steady_clock::now() + 600s;
  SharedMemory memory = SharedMemory::create(4'096);
  auto& turn = reinterpret_cast<PingPong*>(memory.data())->turn;
  WorkerProcess other({.program = STREAMGATE_WORKERS_PEER,
                       .arguments = {"ping-pong"},
                       .descriptors = {{memory.descriptor(), kChannelInWorker}}});
  for (auto _ : state) {
    turn.store(1);
    wake_on_shared(turn);
    while (turn.load() == 1) sleep_on_shared(turn, 1, guard);
  }
  turn.store(2);
  wake_on_shared(turn);
}

void worker_small_call(benchmark::State& state) {
  const Operation operation = one_worker().operation("aten::neg");
  const std::vector<IValue> inputs = {at::ones({4})};
  call(operation, inputs);
  for (auto _ : state) benchmark::DoNotOptimize(call(operation, inputs));
}

void worker_memcpy_64_mib(benchmark::State& state) {
  const at::Tensor from = at::ones({static_cast<std::int64_t>(kLarge)}, at::kByte);
  const at::Tensor to = at::ones_like(from);
  for (auto _ : state) {
    std::memcpy(to.data_ptr(), from.data_ptr(), kLarge);
    benchmark::ClobberMemory();
  }
}

void hand_over(benchmark::State& state, const at::Tensor& large) {
  const Operation operation = one_worker().operation(kHandOver);
  const std::vector<IValue> inputs = {large};
  for (int i = 0; i < 3; ++i) call(operation, inputs);  // So that the pages are there.
  for (auto _ : state) benchmark::DoNotOptimize(call(operation, inputs));
}
void worker_call_64_mib(benchmark::State& state) {
  hand_over(state, at::ones({static_cast<std::int64_t>(kLarge)}, at::kByte));
}
void worker_call_64_mib_in_place(benchmark::State& state) {
  at::Tensor large = one_worker().empty_shared({static_cast<std::int64_t>(kLarge)}, at::kByte);
  large.fill_(1);
  hand_over(state, large);
}

BENCHMARK(worker_futex_ping_pong)->UseRealTime();
BENCHMARK(worker_small_call)->UseRealTime();
BENCHMARK(worker_memcpy_64_mib)->UseRealTime();
BENCHMARK(worker_call_64_mib)->UseRealTime();
BENCHMARK(worker_call_64_mib_in_place)->UseRealTime();

}  // namespace
}  // namespace streamgate::bench

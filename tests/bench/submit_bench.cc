// SPDX-License-Identifier: Apache-2.0
//
// What a task costs from submission to its result: in batches, one at a time, and by run.
#include <benchmark/benchmark.h>

#include <vector>

#include "contenders.h"

namespace streamgate::bench {
namespace {

constexpr std::size_t kWorkers = 2;
constexpr std::size_t kBatch = 1000;

template <typename Pool>
void submit_batch(benchmark::State& state, Pool& pool) {
  using Future = decltype(pool.submit([] {}));
  std::vector<Future> futures;
  futures.reserve(kBatch);
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) futures.push_back(pool.submit([] {}));
    for (Future& future : futures) static_cast<void>(future.get());
    futures.clear();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}

template <typename Pool>
void round_trip(benchmark::State& state, Pool& pool) {
  for (auto _ : state) static_cast<void>(pool.submit([] {}).get());
}

void batch_tbb(benchmark::State& state) {
  TbbPool pool(kWorkers);
  submit_batch(state, pool);
}
void batch_asio(benchmark::State& state) {
  AsioPool pool(kWorkers);
  submit_batch(state, pool);
}
void batch_streamgate(benchmark::State& state) {
  Streamgate pool(kWorkers);
  submit_batch(state, pool);
}
void batch_streamgate_scraped(benchmark::State& state) {
  ScrapedStreamgate pool(kWorkers);
  submit_batch(state, pool);
}
void trip_tbb(benchmark::State& state) {
  TbbPool pool(kWorkers);
  round_trip(state, pool);
}
void trip_asio(benchmark::State& state) {
  AsioPool pool(kWorkers);
  round_trip(state, pool);
}
void trip_streamgate(benchmark::State& state) {
  Streamgate pool(kWorkers);
  round_trip(state, pool);
}

void run_directly(benchmark::State& state) {
  int value = 0;
  auto work = [&] { benchmark::DoNotOptimize(++value); };
  for (auto _ : state) work();
}
void run_streamgate(benchmark::State& state) {
  Streamgate pool(kWorkers);
  int value = 0;
  auto work = [&] { benchmark::DoNotOptimize(++value); };
  for (auto _ : state) benchmark::DoNotOptimize(pool.executor().run(work));
}

BENCHMARK(batch_tbb)->UseRealTime();
BENCHMARK(batch_asio)->UseRealTime();
BENCHMARK(batch_streamgate)->UseRealTime();
BENCHMARK(batch_streamgate_scraped)->UseRealTime();
BENCHMARK(trip_tbb)->UseRealTime();
BENCHMARK(trip_asio)->UseRealTime();
BENCHMARK(trip_streamgate)->UseRealTime();
BENCHMARK(run_directly)->UseRealTime();
BENCHMARK(run_streamgate)->UseRealTime();

}  // namespace
}  // namespace streamgate::bench

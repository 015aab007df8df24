// SPDX-License-Identifier: Apache-2.0
//
// What a permit costs: acquire and release on one gate, alone and among many threads.
#include <benchmark/benchmark.h>
#include <streamgate/executor/gate.h>

namespace streamgate::bench {
namespace {

void admission(benchmark::State& state) {
  static executor::Gate gate({.ceilings = {1023, 64, 64, 1}, .incompatible = {}});
  for (auto _ : state) {
    if (gate.try_acquire(policies::OpClass::kRaw)) gate.release(policies::OpClass::kRaw);
  }
}

BENCHMARK(admission)->UseRealTime()->Threads(1)->Threads(32);

}  // namespace
}  // namespace streamgate::bench

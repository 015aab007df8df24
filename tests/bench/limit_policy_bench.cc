// SPDX-License-Identifier: Apache-2.0
//
// What a completed task costs each limit policy, on a plant with a steady service time. The goal is
// 100 ns at most. How well they steer is tests/simulation's subject.
#include <benchmark/benchmark.h>
#include <streamgate/policies/limit_policy.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace streamgate::bench {
namespace {

void observe(benchmark::State& state, const std::string& name) {
  using namespace std::chrono_literals;
  const auto policy = policies::make_limit_policy({.name = name, .initial = 1, .ceiling = 64});
  policies::Observation seen{.service = 1ms, .in_flight = 1, .limit = 1};
  for (auto _ : state) {
    seen.now += 125us;
    if (const std::optional<std::size_t> limit = policy->observe(seen)) {
      seen.limit = seen.in_flight = *limit;
    }
  }
}

BENCHMARK_CAPTURE(observe, aimd, "aimd");
BENCHMARK_CAPTURE(observe, vegas, "vegas");
BENCHMARK_CAPTURE(observe, gradient2, "gradient2");
BENCHMARK_CAPTURE(observe, knee, "knee");

}  // namespace
}  // namespace streamgate::bench

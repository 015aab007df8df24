// SPDX-License-Identifier: Apache-2.0
//
// A limit policy driving the real gate, and the real admission queue, against a plant on simulated
// time. It says what a policy does with a plant of a known shape; it says nothing about the speed
// of this machine.
#pragma once

#include <streamgate/executor/simulation/scenario.h>
#include <streamgate/policies/limit_policy.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace streamgate::executor::simulation {

/// Seconds; all 0 when there was nothing to measure.
struct Times {
  double mean = 0;
  double p50 = 0;
  double p99 = 0;
};

/// One point of the course of a run. Throughput is that of the time since the point before.
struct Sample {
  double time_s = 0;
  std::size_t limit = 0;
  std::size_t in_flight = 0;
  double throughput_per_s = 0;
};

/// How a run went. What was still waiting or in flight at the end is in `offered` alone.
struct Result {
  std::uint64_t offered = 0;
  std::uint64_t completed = 0;  ///< Good ones.
  std::uint64_t rejected = 0;   ///< By the full queue or by the plant.
  std::uint64_t timed_out = 0;
  bool crashed = false;
  double ended_s = 0;  ///< The duration, or when the plant died.
  double throughput_per_s = 0;
  Times latency_s;  ///< From admission to completion, of good completions.
  Times wait_s;     ///< From submission to admission.
  std::size_t in_flight_max = 0;
  double in_flight_mean = 0;
  std::size_t limit_min = 0;
  std::size_t limit_max = 0;
  double limit_mean = 0;
  std::size_t limit_last = 0;
  /// From when on the limit was near where it ended, as settled_since says. Nothing: it never was.
  std::optional<double> settled_s;
  std::vector<Sample> series;
  std::optional<policies::KneeEstimate> knee;
};

struct Options {
  std::uint64_t seed = 1;
  std::size_t samples = 240;
  /// From when on throughput, latency, wait and the means are counted; what came before counts
  /// neither there nor in `completed`, only in offered, rejected and timed_out.
  double measure_from_s = 0;
};

/// Plays the scenario. The same scenario, seed and policy give the same result on every run.
/// Thread-safety: reentrant. Ownership: of nothing. Blocking: no, but it computes: about a second
/// for a few million requests. Failure: std::invalid_argument as check throws.
///
///     const auto policy = policies::make_limit_policy(
///         {.name = "knee", .initial = scenario.initial_limit, .ceiling = scenario.ceiling});
///     const Result result = simulate(scenario, *policy);
///     std::cout << result.throughput_per_s << '\n';
[[nodiscard]] Result simulate(const Scenario& scenario, policies::LimitPolicy& policy,
                              const Options& options = {});

}  // namespace streamgate::executor::simulation

// SPDX-License-Identifier: Apache-2.0
//
// Random plants for limit policies, what is true of each, and how a policy did on it. The goals
// that a policy has to meet on them are the tests' business.
#pragma once

#include <streamgate/executor/simulation/scenario.h>
#include <streamgate/executor/simulation/simulation.h>
#include <streamgate/policies/limit_policy.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::simulation_test {

namespace simulation = executor::simulation;

/// A plant under more load than it can take, so that the limit decides everything.
struct DrawnPlant {
  std::uint64_t seed = 0;
  std::string kind;  ///< "flat", "collapsing", "exponential" or "sharing".
  simulation::Scenario scenario;
  double step_from_s = 0;  ///< When the plant becomes another one; 0: it stays.

  /// The plant in force at the end of the run.
  [[nodiscard]] const simulation::Plant& last_plant() const noexcept {
    return step_from_s > 0 ? scenario.plant_stages.back().plant : scenario.plant;
  }
};

/// The constants of `knee` were chosen with the plants of the first, and with those from 300 to
/// 699; goals are judged on the second.
struct SeedRange {
  std::uint64_t first;
  std::uint64_t end;
};
inline constexpr SeedRange kTuningSeeds{0, 100};
inline constexpr SeedRange kReportSeeds{100, 300};

/// Knees from 1 to 200, service times from 25 us to 2 s, with jitter and heavy tails; closed and
/// open loads; every fourth one changes by a factor of 3 half way. The same for the same seed, with
/// every compiler.
[[nodiscard]] DrawnPlant draw_plant(std::uint64_t seed);

/// Completions per second while exactly `limit` requests are in the plant. Exact, as the load
/// always fills the limit, and the service times depend on nothing but that number. A test compares
/// it with the simulator.
[[nodiscard]] double throughput_at(const simulation::Plant& plant, std::size_t limit);

/// The best static limit, found by trying each one up to the ceiling.
struct Best {
  double throughput_per_s = 0;
  std::size_t smallest = 0;  ///< The smallest limit with at least 99 % of that throughput.
  double latency_s = 0;      ///< Mean, at that limit.
};
[[nodiscard]] Best best_of(const simulation::Plant& plant, std::size_t ceiling);

using PolicyFactory =
    std::function<std::unique_ptr<policies::LimitPolicy>(const policies::LimitPolicyOptions&)>;

/// How one policy did on one plant.
struct Score {
  double throughput = 0;  ///< Over the best static one's, once it had the time to settle.
  double latency = 0;     ///< Mean, over that at the smallest best limit; the same time.
  /// Decision windows from limit 1, or from the step, until a limit is in force that has 90 % of
  /// the best throughput; nothing: never. A policy without windows is counted in ones of 64
  /// completions, or of four rounds of its limit where that is more.
  std::optional<std::size_t> windows_from_start{};
  bool stepped = false;
  std::optional<std::size_t> windows_from_step{};
  std::optional<bool> knee_covered{};  ///< Nothing: the policy has no estimate.
};
[[nodiscard]] Score play(const DrawnPlant& plant, const PolicyFactory& make);

/// The scores of many plants, as the goals speak of them.
struct Summary {
  std::size_t plants = 0;
  double throughput_median = 0;
  double throughput_p05 = 0;
  double latency_median = 0;
  double latency_p95 = 0;
  double start_windows_median = 0;  ///< A plant on which it never happened counts as 10^6.
  double start_windows_p95 = 0;
  double step_windows_median = 0;
  double step_windows_p95 = 0;
  std::optional<double> knee_coverage{};
};
[[nodiscard]] Summary summarise(const std::vector<Score>& scores);

/// The value below which that share of them lies (nearest rank). REQUIRES: not empty.
[[nodiscard]] double quantile(std::vector<double> values, double share);

}  // namespace streamgate::simulation_test

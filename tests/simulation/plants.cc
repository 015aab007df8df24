// SPDX-License-Identifier: Apache-2.0
//
// The drawing of plants, and the playing of a policy on one.
#include "plants.h"

#include <streamgate/executor/simulation/random.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace streamgate::simulation_test {
namespace {

using simulation::Plant;
using simulation::PlantKind;

constexpr std::size_t kCeiling = 256;
constexpr double kWindows = 400;      ///< How long a plant is played, in windows at its best limit.
constexpr double kToSettle = 0.25;    ///< Of that time, or of the time after a step.
constexpr double kNeverWindows = 1e6;

double between(simulation::Random& random, double low, double high) {
  return low + (high - low) * random.uniform();
}
/// Each factor between the two is as probable as every other.
double factor_between(simulation::Random& random, double low, double high) {
  return low * std::pow(high / low, random.uniform());
}
/// How many times its service time a request takes on average when it is alone.
double mean_work(const Plant& plant) {
  return (1 + plant.heavy_share * (plant.heavy_factor - 1)) * (1 + plant.jitter);
}
double window_at(std::size_t limit) { return std::max(64.0, 4.0 * static_cast<double>(limit)); }

Plant draw_shape(simulation::Random& random, std::string& kind) {
  Plant plant{.service_s = factor_between(random, 25e-6, 2)};
  const double knee = std::floor(factor_between(random, 1, 201));
  const double shape = random.uniform();
  if (shape < 0.25) {
    kind = "flat";
    plant.kind = PlantKind::kPower;
    plant.knee = knee;
    plant.exponent = 1;
  } else if (shape < 0.5) {
    kind = "collapsing";
    plant.kind = PlantKind::kPower;
    plant.knee = knee;
    plant.exponent = between(random, 1.1, 2);
  } else if (shape < 0.75) {
    // The best is a little past the knee, as long as the time grows by less than its share.
    kind = "exponential";
    plant.kind = PlantKind::kDelay;
    plant.knee = knee;
    plant.base = 1 + between(random, 0.3, 3) / (knee + 1);
  } else {
    kind = "sharing";
    plant.kind = PlantKind::kSharing;
    plant.threads = knee;
  }
  const double scatter = random.uniform();
  if (scatter < 0.6) {
    plant.jitter = between(random, 0.02, 0.5);
  } else if (scatter < 0.8) {
    plant.jitter = 1;
  } else {
    plant.jitter = between(random, 0.02, 0.2);
    plant.heavy_share = between(random, 0.01, 0.1);
    plant.heavy_factor = between(random, 3, 10);
  }
  return plant;
}

/// Three times as fast or slow; or the knee is; or the mix becomes heavier.
Plant draw_changed(simulation::Random& random, Plant plant) {
  const double which = random.uniform();
  const double factor = random.uniform() < 0.5 ? 3.0 : 1 / 3.0;
  if (which < 0.5) {
    plant.service_s *= factor;
  } else if (which < 0.75) {
    double& knee = plant.kind == PlantKind::kSharing ? plant.threads : plant.knee;
    const double before = knee;
    knee = std::clamp(std::floor(knee * factor), 1.0, 200.0);
    if (plant.kind == PlantKind::kDelay) {
      plant.base = 1 + (plant.base - 1) * (before + 1) / (knee + 1);
    }
  } else {
    plant.heavy_share = 0.2;
    plant.heavy_factor = 6;
  }
  return plant;
}

/// Passes everything on to the policy, and counts the windows until its limit is good enough.
class Watched final : public policies::LimitPolicy {
 public:
  Watched(std::unique_ptr<policies::LimitPolicy> policy, const DrawnPlant& plant, double good,
          double good_after_step)
      : policy_(std::move(policy)),
        plant_(plant),
        good_(good),
        good_after_step_(good_after_step),
        limit_(policy_->initial_limit()),
        decides_(policy_->wants_observations()) {}

  std::size_t initial_limit() const noexcept override { return policy_->initial_limit(); }
  bool wants_observations() const noexcept override { return true; }
  std::optional<policies::KneeEstimate> knee() const noexcept override { return policy_->knee(); }

  std::optional<std::size_t> observe(const policies::Observation& o) noexcept override {
    const bool stepped =
        plant_.step_from_s > 0 &&
        std::chrono::duration<double>(o.now).count() >= plant_.step_from_s;
    if (stepped != stepped_ || first_) {
      stepped_ = stepped;
      windows_before_ = windows();
      first_ = false;
      look(from_step_or_start());
    }
    nominal_windows_ += 1 / window_at(limit_);
    if (!decides_) return std::nullopt;
    const std::optional<std::size_t> next = policy_->observe(o);
    if (next) {
      limit_ = *next;
      look(from_step_or_start());
    }
    return next;
  }

  std::uint64_t windows() const noexcept override {
    const std::uint64_t own = policy_->windows();
    return own != 0 ? own : static_cast<std::uint64_t>(nominal_windows_);
  }

  std::optional<std::size_t> from_start;
  std::optional<std::size_t> from_step;

 private:
  std::optional<std::size_t>& from_step_or_start() noexcept {
    return stepped_ ? from_step : from_start;
  }

  /// Whether the limit is good enough now; asked when it or the plant has changed.
  void look(std::optional<std::size_t>& reached) noexcept {
    const Plant& plant = stepped_ ? plant_.last_plant() : plant_.scenario.plant;
    if (reached || throughput_at(plant, limit_) < (stepped_ ? good_after_step_ : good_)) return;
    reached = static_cast<std::size_t>(windows() - windows_before_);
  }

  std::unique_ptr<policies::LimitPolicy> policy_;
  const DrawnPlant& plant_;
  double good_;
  double good_after_step_;
  std::size_t limit_;
  bool decides_;
  bool first_ = true;
  bool stepped_ = false;
  std::uint64_t windows_before_ = 0;
  double nominal_windows_ = 0;
};

double or_never(const std::optional<std::size_t>& windows) {
  return windows ? static_cast<double>(*windows) : kNeverWindows;
}

}  // namespace

DrawnPlant draw_plant(std::uint64_t seed) {
  simulation::Random random(seed * 0x9e3779b97f4a7c15U + 1);
  DrawnPlant drawn{.seed = seed, .kind = {}, .scenario = {}};
  simulation::Scenario& scenario = drawn.scenario;
  scenario.plant = draw_shape(random, drawn.kind);
  scenario.ceiling = kCeiling;
  const Best before = best_of(scenario.plant, kCeiling);
  scenario.duration_s = kWindows * window_at(before.smallest) / before.throughput_per_s;
  double rate = before.throughput_per_s;
  if (seed % 4 == 3) {
    const Plant changed = draw_changed(random, scenario.plant);
    const Best after = best_of(changed, kCeiling);
    rate = std::max(rate, after.throughput_per_s);
    drawn.step_from_s = scenario.duration_s;
    scenario.duration_s += kWindows * window_at(after.smallest) / after.throughput_per_s;
    scenario.plant_stages = {{.from_s = drawn.step_from_s, .plant = changed}};
  }
  if (random.uniform() < 0.7) {
    scenario.load = {.kind = simulation::LoadKind::kClosed, .clients = 2 * kCeiling};
  } else {
    // Twice what it can take: the queue is never empty, and what it does not hold is turned away.
    scenario.load.kind = simulation::LoadKind::kOpen;
    scenario.load.stages = {{scenario.duration_s, 2 * rate, 2 * rate}};
  }
  return drawn;
}

double throughput_at(const Plant& plant, std::size_t limit) {
  const auto n = static_cast<double>(limit);
  const double service = plant.service_s;
  switch (plant.kind) {
    case PlantKind::kPower:
      return n / (service * mean_work(plant) *
                  std::pow(std::max(1.0, n / plant.knee), plant.exponent));
    case PlantKind::kSharing:
      return std::min(n, plant.threads) / (service * mean_work(plant));
    case PlantKind::kDelay:
      break;
  }
  const double heavy = 1 + plant.heavy_share * (plant.heavy_factor - 1);
  const double knee = std::pow(plant.base, std::max(0.0, n - plant.knee)) - 1;
  return n / (service * heavy * (1 + (n - 1) * plant.scale + knee + plant.jitter));
}

Best best_of(const Plant& plant, std::size_t ceiling) {
  Best best;
  for (std::size_t limit = 1; limit <= ceiling; ++limit) {
    best.throughput_per_s = std::max(best.throughput_per_s, throughput_at(plant, limit));
  }
  best.smallest = 1;
  while (throughput_at(plant, best.smallest) < 0.99 * best.throughput_per_s) ++best.smallest;
  // Little's law.
  best.latency_s = static_cast<double>(best.smallest) / throughput_at(plant, best.smallest);
  return best;
}

Score play(const DrawnPlant& drawn, const PolicyFactory& make) {
  const simulation::Scenario& scenario = drawn.scenario;
  const Best best = best_of(drawn.last_plant(), scenario.ceiling);
  Watched policy(make({.initial = scenario.initial_limit, .ceiling = scenario.ceiling}), drawn,
                 0.9 * best_of(scenario.plant, scenario.ceiling).throughput_per_s,
                 0.9 * best.throughput_per_s);
  const double since = drawn.step_from_s;
  const simulation::Result result = simulation::simulate(
      scenario, policy,
      {.seed = drawn.seed,
       .samples = 1,
       .measure_from_s = since + kToSettle * (scenario.duration_s - since)});

  Score score{.throughput = result.throughput_per_s / best.throughput_per_s,
              .latency = result.latency_s.mean / best.latency_s,
              .windows_from_start = policy.from_start,
              .stepped = drawn.step_from_s > 0,
              .windows_from_step = policy.from_step};
  if (result.knee) {
    score.knee_covered = result.knee->low <= best.smallest && best.smallest <= result.knee->high;
  }
  return score;
}

Summary summarise(const std::vector<Score>& scores) {
  std::vector<double> throughput;
  std::vector<double> latency;
  std::vector<double> start;
  std::vector<double> step;
  double estimates = 0;
  double covered = 0;
  for (const Score& score : scores) {
    throughput.push_back(score.throughput);
    latency.push_back(score.latency);
    start.push_back(or_never(score.windows_from_start));
    if (score.stepped) step.push_back(or_never(score.windows_from_step));
    estimates += score.knee_covered ? 1 : 0;
    covered += score.knee_covered.value_or(false) ? 1 : 0;
  }
  Summary summary{.plants = scores.size(),
                  .throughput_median = quantile(throughput, 0.5),
                  .throughput_p05 = quantile(throughput, 0.05),
                  .latency_median = quantile(latency, 0.5),
                  .latency_p95 = quantile(latency, 0.95),
                  .start_windows_median = quantile(start, 0.5),
                  .start_windows_p95 = quantile(start, 0.95)};
  if (!step.empty()) {
    summary.step_windows_median = quantile(step, 0.5);
    summary.step_windows_p95 = quantile(step, 0.95);
  }
  if (estimates > 0) summary.knee_coverage = covered / static_cast<double>(scores.size());
  return summary;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(share * static_cast<double>(values.size())) - 1;
  return values[static_cast<std::size_t>(std::max(0.0, rank))];
}

}  // namespace streamgate::simulation_test

// SPDX-License-Identifier: Apache-2.0
//
// What a scenario may hold.
#include <streamgate/executor/gate.h>
#include <streamgate/executor/simulation/scenario.h>

#include <cmath>
#include <string>

namespace streamgate::executor::simulation {
namespace {

std::string number(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

/// Whether the value is outside is asked this way round so that not-a-number is, too.
void within(const std::string& key, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw std::invalid_argument(key + " is " + number(value) + "; allowed: " + number(low) + ".." +
                              number(high));
}

void check_plant(const Plant& plant, const std::string& at) {
  within(at + ".service_s", plant.service_s, 1e-6, 1e4);
  within(at + ".jitter", plant.jitter, 0, 1000);
  within(at + ".heavy.share", plant.heavy_share, 0, 1);
  within(at + ".heavy.factor", plant.heavy_factor, 0.001, 1e6);
  if (plant.kind == PlantKind::kDelay) {
    within(at + ".scale", plant.scale, 0, 1000);
    within(at + ".knee.at", plant.knee, 0, 1e6);
    within(at + ".knee.base", plant.base, 1, 1000);
  } else if (plant.kind == PlantKind::kPower) {
    within(at + ".knee", plant.knee, 0.001, 1e6);
    within(at + ".exponent", plant.exponent, 0, 20);
  } else {
    within(at + ".threads", plant.threads, 0.001, 1e6);
  }
}

void check_load(const Load& load) {
  if (load.kind == LoadKind::kClosed) {
    within("load.clients", static_cast<double>(load.clients), 1, 1e6);
    return;
  }
  if (load.stages.empty()) {
    throw std::invalid_argument("load.stages is empty; allowed: at least one stage");
  }
  for (std::size_t i = 0; i < load.stages.size(); ++i) {
    const std::string at = "load.stages[" + std::to_string(i) + "]";
    within(at + ".seconds", load.stages[i].seconds, 1e-3, 1e7);
    within(at + ".rps_from", load.stages[i].rps_from, 0, 1e7);
    within(at + ".rps_to", load.stages[i].rps_to, 0, 1e7);
  }
}

}  // namespace

void check(const Scenario& scenario) {
  within("duration_s", scenario.duration_s, 1e-3, 1e7);
  within("ceiling", static_cast<double>(scenario.ceiling), 1,
         static_cast<double>(Gate::kMaxCeiling));
  within("initial_limit", static_cast<double>(scenario.initial_limit), 1,
         static_cast<double>(scenario.ceiling));
  within("queue", static_cast<double>(scenario.queue), 0, 1e7);
  within("timeout_s", scenario.timeout_s, 0, 1e7);
  check_load(scenario.load);
  check_plant(scenario.plant, "plant");
  double previous = -1;
  for (std::size_t i = 0; i < scenario.plant_stages.size(); ++i) {
    const std::string at = "plant_stages[" + std::to_string(i) + "]";
    const PlantStage& stage = scenario.plant_stages[i];
    within(at + ".from_s", stage.from_s, 0, scenario.duration_s);
    if (stage.from_s <= previous) {
      throw std::invalid_argument(at + ".from_s is " + number(stage.from_s) +
                                  "; allowed: more than that of the stage before, " +
                                  number(previous));
    }
    previous = stage.from_s;
    check_plant(stage.plant, at);
  }
  if (scenario.drop_above && scenario.timeout_s <= 0) {
    throw std::invalid_argument(
        "drop_above needs timeout_s: what is never answered would hold its permit for ever; "
        "allowed: timeout_s above 0");
  }
}

}  // namespace streamgate::executor::simulation

// SPDX-License-Identifier: Apache-2.0
#include "simulate/scenario_file.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstddef>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace streamgate::tools {
namespace {

using PlainJson = nlohmann::json;
using executor::simulation::Arrival;
using executor::simulation::Load;
using executor::simulation::LoadKind;
using executor::simulation::LoadStage;
using executor::simulation::Plant;
using executor::simulation::PlantKind;
using executor::simulation::PlantStage;
using executor::simulation::Scenario;

constexpr std::size_t kLargestFile = 1U << 20U;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

/// The keys of one object. Remembers which were asked for, as those are the ones that it may have.
class Keys {
 public:
  Keys(const PlainJson& object, std::string at) : object_(object), at_(std::move(at)) {
    if (!object.is_object()) refuse((at_.empty() ? "the text" : at_) + " is not an object");
  }

  [[nodiscard]] std::string path(const std::string& key) const {
    return at_.empty() ? key : at_ + "." + key;
  }
  [[nodiscard]] const PlainJson* find(const std::string& key) {
    known_ += (known_.empty() ? "" : ", ") + key;
    const auto found = object_.find(key);
    ++used_;
    if (found != object_.end()) return &*found;
    --used_;
    return nullptr;
  }
  [[nodiscard]] const PlainJson& need(const std::string& key) {
    if (const PlainJson* value = find(key)) return *value;
    refuse(path(key) + " is missing");
  }

  void number(const std::string& key, double& to) {
    if (const PlainJson* value = find(key)) to = number_of(key, *value);
  }
  [[nodiscard]] double need_number(const std::string& key) { return number_of(key, need(key)); }
  void whole(const std::string& key, std::size_t& to) {
    if (const PlainJson* value = find(key)) to = whole_of(key, *value);
  }
  void whole(const std::string& key, std::optional<std::size_t>& to) {
    if (const PlainJson* value = find(key)) to = whole_of(key, *value);
  }
  [[nodiscard]] std::size_t need_whole(const std::string& key) { return whole_of(key, need(key)); }

  /// Which of the words the value is.
  [[nodiscard]] std::size_t word(const std::string& key, const PlainJson& value,
                                 const std::vector<std::string>& words) const {
    std::string allowed;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (value == words[i]) return i;
      allowed += (i == 0 ? "" : ", ") + ("\"" + words[i] + "\"");
    }
    refuse(path(key) + " is " + shown(value) + "; allowed: " + allowed);
  }

  /// Refuses the first key that nobody has asked for. `where` tells why it is not known here.
  void finish(const std::string& where) const {
    if (used_ == object_.size()) return;
    const std::string known = ", " + known_ + ",";
    for (const auto& [key, value] : object_.items()) {
      if (known.find(", " + key + ",") != known.npos) continue;
      refuse(path(key) + " is not known" + where + "; allowed: " + known_);
    }
  }

 private:
  static std::string shown(const PlainJson& value) {
    const std::string text = value.dump(-1, ' ', false, PlainJson::error_handler_t::replace);
    return text.size() <= 40 ? text : text.substr(0, 40) + "...";
  }
  [[nodiscard]] double number_of(const std::string& key, const PlainJson& value) const {
    if (value.is_number()) return value.get<double>();
    refuse(path(key) + " is " + shown(value) + "; allowed: a number");
  }
  [[nodiscard]] std::size_t whole_of(const std::string& key, const PlainJson& value) const {
    const double number = number_of(key, value);
    if (number >= 0 && number <= 1e15 && number == std::floor(number)) {
      return static_cast<std::size_t>(number);
    }
    refuse(path(key) + " is " + shown(value) + "; allowed: a whole number from 0 to 10^15");
  }

  const PlainJson& object_;
  std::string at_;
  std::string known_;
  std::size_t used_ = 0;
};

const PlainJson& list_of(const PlainJson& value, const std::string& path) {
  if (value.is_array()) return value;
  refuse(path + " is not a list; allowed: a list of objects");
}

LoadStage parse_load_stage(const PlainJson& object, const std::string& at) {
  Keys keys(object, at);
  LoadStage stage{.seconds = keys.need_number("seconds")};
  if (object.contains("rps")) {
    stage.rps_from = stage.rps_to = keys.need_number("rps");
    keys.finish(" beside rps");
  } else {
    if (!object.contains("rps_from")) refuse(at + " has neither rps nor rps_from and rps_to");
    stage.rps_from = keys.need_number("rps_from");
    stage.rps_to = keys.need_number("rps_to");
    keys.finish("");
  }
  return stage;
}

Load parse_load(const PlainJson& object) {
  Keys keys(object, "load");
  Load load;
  if (keys.word("kind", keys.need("kind"), {"closed", "open"}) == 0) {
    load.kind = LoadKind::kClosed;
    load.clients = keys.need_whole("clients");
    keys.finish(" for kind closed");
    return load;
  }
  load.kind = LoadKind::kOpen;
  if (const PlainJson* arrival = keys.find("arrival")) {
    load.arrival = keys.word("arrival", *arrival, {"uniform", "poisson"}) == 0 ? Arrival::kUniform
                                                                                : Arrival::kPoisson;
  }
  keys.whole("requests", load.requests);
  for (const PlainJson& stage : list_of(keys.need("stages"), "load.stages")) {
    const std::string at = "load.stages[" + std::to_string(load.stages.size()) + "]";
    load.stages.push_back(parse_load_stage(stage, at));
  }
  keys.finish(" for kind open");
  return load;
}

/// Reads what every kind of plant has, and what this kind has, where it is given.
void parse_plant_values(Keys& keys, Plant& plant) {
  keys.number("service_s", plant.service_s);
  keys.number("jitter", plant.jitter);
  if (const PlainJson* heavy = keys.find("heavy")) {
    Keys inner(*heavy, keys.path("heavy"));
    plant.heavy_share = inner.need_number("share");
    plant.heavy_factor = inner.need_number("factor");
    inner.finish("");
  }
  switch (plant.kind) {
    case PlantKind::kDelay:
      keys.number("scale", plant.scale);
      if (const PlainJson* knee = keys.find("knee")) {
        Keys inner(*knee, keys.path("knee"));
        plant.knee = inner.need_number("at");
        plant.base = inner.need_number("base");
        inner.finish(" in the knee of kind delay");
      }
      return;
    case PlantKind::kPower:
      keys.number("knee", plant.knee);
      keys.number("exponent", plant.exponent);
      return;
    case PlantKind::kSharing:
      keys.number("threads", plant.threads);
      return;
  }
}

Plant parse_plant(const PlainJson& object) {
  Keys keys(object, "plant");
  const std::vector<std::string> kinds = {"delay", "power", "sharing"};
  const std::size_t kind = keys.word("kind", keys.need("kind"), kinds);
  Plant plant;
  plant.kind = kind == 0 ? PlantKind::kDelay : kind == 1 ? PlantKind::kPower : PlantKind::kSharing;
  parse_plant_values(keys, plant);
  keys.finish(" for kind " + kinds[kind]);
  std::vector<std::string> needed = {"service_s"};
  if (plant.kind == PlantKind::kPower) needed.insert(needed.end(), {"knee", "exponent"});
  if (plant.kind == PlantKind::kSharing) needed.push_back("threads");
  for (const std::string& key : needed) {
    if (!object.contains(key)) refuse("plant." + key + " is missing");
  }
  return plant;
}

Scenario parse(const PlainJson& object) {
  Keys keys(object, "");
  Scenario scenario;
  keys.number("duration_s", scenario.duration_s);
  keys.whole("initial_limit", scenario.initial_limit);
  keys.whole("ceiling", scenario.ceiling);
  keys.number("timeout_s", scenario.timeout_s);
  keys.whole("queue", scenario.queue);
  scenario.load = parse_load(keys.need("load"));
  scenario.plant = parse_plant(keys.need("plant"));
  if (const PlainJson* stages = keys.find("plant_stages")) {
    Plant plant = scenario.plant;
    for (const PlainJson& stage : list_of(*stages, "plant_stages")) {
      Keys inner(stage, "plant_stages[" + std::to_string(scenario.plant_stages.size()) + "]");
      const double from = inner.need_number("from_s");
      parse_plant_values(inner, plant);
      inner.finish(" in a stage of this kind of plant");
      scenario.plant_stages.push_back({.from_s = from, .plant = plant});
    }
  }
  keys.whole("reject_above", scenario.reject_above);
  keys.whole("drop_above", scenario.drop_above);
  keys.whole("crash_above", scenario.crash_above);
  keys.finish("");
  return scenario;
}

}  // namespace

Scenario parse_scenario(std::string_view text) {
  PlainJson object;
  try {
    object = PlainJson::parse(text);
  } catch (const PlainJson::exception& error) {
    refuse(std::string("it is no JSON: ") + error.what());
  }
  Scenario scenario = parse(object);
  executor::simulation::check(scenario);
  return scenario;
}

Scenario load_scenario(const std::filesystem::path& file) {
  const std::string name = "scenario " + file.string() + ": ";
  std::ifstream stream(file, std::ios::binary);
  std::string text(kLargestFile + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.eof()) refuse(name + (stream ? "it has more than 1 MiB" : "it cannot be read"));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  try {
    return parse_scenario(text);
  } catch (const std::invalid_argument& wrong) {
    refuse(name + wrong.what());
  }
}

}  // namespace streamgate::tools

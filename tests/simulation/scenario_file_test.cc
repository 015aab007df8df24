// SPDX-License-Identifier: Apache-2.0
//
// Scenario files: what they mean, and that whoever wrote a wrong one is told which key.
#include "simulate/scenario_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace streamgate::tools {
namespace {

using namespace executor::simulation;

std::string error_of(const std::string& text) {
  try {
    static_cast<void>(parse_scenario(text));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

const std::string kLoad = R"("load": {"kind": "closed", "clients": 64})";
const std::string kPlant = R"("plant": {"kind": "sharing", "service_s": 0.1, "threads": 12})";

std::string with(const std::string& more) {
  return "{" + kLoad + ", " + kPlant + (more.empty() ? "" : ", " + more) + "}";
}
std::string with_load(const std::string& load) { return "{\"load\": " + load + ", " + kPlant + "}"; }
std::string with_plant(const std::string& plant) {
  return "{" + kLoad + ", \"plant\": " + plant + "}";
}

TEST(ScenarioFile, EveryKeyOfADelayPlantUnderAClosedLoadIsRead) {
  const Scenario scenario = parse_scenario(R"(
{"duration_s": 60, "initial_limit": 2, "ceiling": 63, "timeout_s": 1.5, "queue": 900,
 "load": {"kind": "closed", "clients": 65},
 "plant": {"kind": "delay", "service_s": 0.1, "scale": 0.25, "knee": {"at": 10, "base": 1.1},
           "jitter": 0.2, "heavy": {"share": 0.1, "factor": 5}},
 "plant_stages": [{"from_s": 30, "service_s": 0.03}, {"from_s": 40, "jitter": 0.5}],
 "reject_above": 5, "drop_above": 6, "crash_above": 24})");
  EXPECT_EQ(scenario.duration_s, 60);
  EXPECT_EQ(scenario.initial_limit, 2U);
  EXPECT_EQ(scenario.ceiling, 63U);
  EXPECT_EQ(scenario.timeout_s, 1.5);
  EXPECT_EQ(scenario.queue, 900U);
  EXPECT_EQ(scenario.load.kind, LoadKind::kClosed);
  EXPECT_EQ(scenario.load.clients, 65U);
  EXPECT_EQ(scenario.plant.kind, PlantKind::kDelay);
  EXPECT_EQ(scenario.plant.service_s, 0.1);
  EXPECT_EQ(scenario.plant.scale, 0.25);
  EXPECT_EQ(scenario.plant.knee, 10);
  EXPECT_EQ(scenario.plant.base, 1.1);
  EXPECT_EQ(scenario.plant.jitter, 0.2);
  EXPECT_EQ(scenario.plant.heavy_share, 0.1);
  EXPECT_EQ(scenario.plant.heavy_factor, 5);
  ASSERT_EQ(scenario.plant_stages.size(), 2U);
  EXPECT_EQ(scenario.plant_stages[0].from_s, 30);
  EXPECT_EQ(scenario.plant_stages[0].plant.service_s, 0.03);
  EXPECT_EQ(scenario.plant_stages[0].plant.jitter, 0.2);
  EXPECT_EQ(scenario.plant_stages[1].plant.service_s, 0.03);
  EXPECT_EQ(scenario.plant_stages[1].plant.jitter, 0.5);
  EXPECT_EQ(scenario.reject_above, 5U);
  EXPECT_EQ(scenario.drop_above, 6U);
  EXPECT_EQ(scenario.crash_above, 24U);
}

TEST(ScenarioFile, EveryKeyOfAPowerPlantUnderAnOpenLoadIsRead) {
  const Scenario scenario = parse_scenario(R"(
{"load": {"kind": "open", "arrival": "uniform", "requests": 500,
          "stages": [{"seconds": 20, "rps": 100}, {"seconds": 10, "rps_from": 100, "rps_to": 300}]},
 "plant": {"kind": "power", "service_s": 0.01, "knee": 8, "exponent": 1.5, "jitter": 0.1}})");
  EXPECT_EQ(scenario.load.arrival, Arrival::kUniform);
  EXPECT_EQ(scenario.load.requests, 500U);
  ASSERT_EQ(scenario.load.stages.size(), 2U);
  EXPECT_EQ(scenario.load.stages[0].rps_from, 100);
  EXPECT_EQ(scenario.load.stages[0].rps_to, 100);
  EXPECT_EQ(scenario.load.stages[1].seconds, 10);
  EXPECT_EQ(scenario.load.stages[1].rps_to, 300);
  EXPECT_EQ(scenario.plant.kind, PlantKind::kPower);
  EXPECT_EQ(scenario.plant.knee, 8);
  EXPECT_EQ(scenario.plant.exponent, 1.5);
  EXPECT_FALSE(scenario.crash_above.has_value());
}

TEST(ScenarioFile, AWrongOneNamesTheKeyAndWhatIsAllowed) {
  EXPECT_EQ(error_of(with("")), "");
  const std::vector<std::pair<std::string, std::string>> wrongs = {
      {"", "it is no JSON: "},
      {"{\"load\": ", "it is no JSON: "},
      {with("\"ceiling\": 1e999"), "it is no JSON: "},
      {"[]", "the text is not an object"},
      {"{}", "load is missing"},
      {"{" + kLoad + "}", "plant is missing"},
      {with("\"celing\": 4"), "celing is not known; allowed: duration_s, initial_limit, ceiling"},
      {with("\"ceiling\": \"4\""), "ceiling is \"4\"; allowed: a number"},
      {with("\"ceiling\": null"), "ceiling is null; allowed: a number"},
      {with("\"ceiling\": 4.5"), "ceiling is 4.5; allowed: a whole number"},
      {with("\"ceiling\": -4"), "ceiling is -4; allowed: a whole number"},
      {with("\"ceiling\": 4, \"initial_limit\": 5"), "initial_limit is 5; allowed: 1..4"},
      {with("\"drop_above\": 4"), "drop_above needs timeout_s"},
      {with("\"plant_stages\": {}"), "plant_stages is not a list"},
      {with("\"plant_stages\": [1]"), "plant_stages[0] is not an object"},
      {with("\"plant_stages\": [{}]"), "plant_stages[0].from_s is missing"},
      {with("\"plant_stages\": [{\"from_s\": 1, \"kind\": \"power\"}]"),
       "plant_stages[0].kind is not known in a stage of this kind of plant; allowed: from_s"},
      {with("\"plant_stages\": [{\"from_s\": 61}]"), "plant_stages[0].from_s is 61; allowed: 0..60"},
      {with_load("3"), "load is not an object"},
      {with_load("{}"), "load.kind is missing"},
      {with_load("{\"kind\": \"half\"}"), "load.kind is \"half\"; allowed: \"closed\", \"open\""},
      {with_load("{\"kind\": \"closed\"}"), "load.clients is missing"},
      {with_load("{\"kind\": \"closed\", \"clients\": 2, \"stages\": []}"),
       "load.stages is not known for kind closed; allowed: kind, clients"},
      {with_load("{\"kind\": \"open\", \"stages\": []}"), "load.stages is empty"},
      {with_load("{\"kind\": \"open\", \"stages\": [], \"clients\": 2}"),
       "load.clients is not known for kind open"},
      {with_load("{\"kind\": \"open\", \"arrival\": \"x\"}"),
       "load.arrival is \"x\"; allowed: \"uniform\", \"poisson\""},
      {with_load("{\"kind\": \"open\", \"stages\": [{\"seconds\": 1}]}"),
       "load.stages[0] has neither rps nor rps_from and rps_to"},
      {with_load("{\"kind\": \"open\", \"stages\": [{\"seconds\": 1, \"rps_from\": 1}]}"),
       "load.stages[0].rps_to is missing"},
      {with_load("{\"kind\": \"open\", \"stages\": [{\"seconds\": 1, \"rps\": 1, \"rps_to\": 2}]}"),
       "load.stages[0].rps_to is not known beside rps"},
      {with_plant("{\"kind\": \"sharing\", \"threads\": 2}"), "plant.service_s is missing"},
      {with_plant("{\"kind\": \"sharing\", \"service_s\": 2}"), "plant.threads is missing"},
      {with_plant("{\"kind\": \"power\", \"service_s\": 2, \"knee\": {\"at\": 1, \"base\": 2}, "
                  "\"exponent\": 1}"),
       "plant.knee is {\"at\":1,\"base\":2}; allowed: a number"},
      {with_plant("{\"kind\": \"delay\", \"service_s\": 2, \"knee\": 3}"),
       "plant.knee is not an object"},
      {with_plant("{\"kind\": \"delay\", \"service_s\": 2, \"threads\": 3}"),
       "plant.threads is not known for kind delay"},
      {with_plant("{\"kind\": \"delay\", \"service_s\": -2}"), "plant.service_s is -2; allowed: "}};
  for (const auto& [text, expected] : wrongs) {
    EXPECT_TRUE(error_of(text).starts_with(expected)) << text << "\n  " << error_of(text);
  }
}

TEST(ScenarioFile, AFileThatCannotBeReadIsNamed) {
  for (const std::string file : {"no_such_scenario.json", "."}) {
    try {
      static_cast<void>(load_scenario(file));
      ADD_FAILURE() << file;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(file), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace streamgate::tools

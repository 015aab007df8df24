// SPDX-License-Identifier: Apache-2.0
//
// What `streamgate simulate` writes: programs rely on the fields, people on the table.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

#include "simulate/chart.h"
#include "simulate/played.h"
#include "simulate/render.h"
#include "simulate/scenario_file.h"

namespace streamgate::tools {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kScenario = R"(
{"duration_s": 5, "initial_limit": 2, "ceiling": 16,
 "load": {"kind": "closed", "clients": 32},
 "plant": {"kind": "power", "service_s": 0.01, "knee": 8, "exponent": 1.5, "jitter": 0.1}})";

std::vector<Played> play(std::string_view policy) {
  return play_policies(parse_scenario(kScenario), policy, 1);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(SimulateRender, JsonHasEveryFieldOfTheContract) {
  const Json run = Json::parse(render_simulation_json(play("fixed").front()));
  for (const char* field : {"offered", "completed", "rejected", "timed_out", "throughput_per_s"}) {
    EXPECT_TRUE(run.at(field).is_number()) << field;
  }
  EXPECT_TRUE(run.at("crashed").is_boolean());
  for (const char* times : {"latency_s", "wait_s"}) {
    for (const char* field : {"mean", "p50", "p99"}) EXPECT_TRUE(run.at(times).at(field).is_number());
  }
  for (const char* field : {"max", "mean"}) EXPECT_TRUE(run.at("in_flight").at(field).is_number());
  for (const char* field : {"min", "max", "last"}) EXPECT_EQ(run.at("limit").at(field), 2);
  EXPECT_NEAR(run.at("limit").at("mean").get<double>(), 2, 1e-9);
  EXPECT_TRUE(run.at("settled_s").is_number());
  EXPECT_TRUE(run.at("knee").is_null());
  ASSERT_EQ(run.at("series").size(), 240U);
  for (const Json& point : run.at("series")) EXPECT_EQ(point.size(), 4U);
  EXPECT_EQ(run.at("series").back().at(0), 5);
  EXPECT_EQ(run.at("offered"), run.at("completed").get<int>() + 32);
}

TEST(SimulateRender, AllPlaysEveryPolicyOnTheSameRequests) {
  const std::vector<Played> all = play("all");
  const Json runs = Json::parse(render_simulations_json(all));
  ASSERT_EQ(runs.at("policies").size(), policies::kLimitPolicyNames.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(runs.at("policies")[i].at("policy"), policies::kLimitPolicyNames[i]);
  }
  EXPECT_EQ(render_simulation_json(all.front()), render_simulation_json(play("fixed").front()));
}

TEST(SimulateRender, TheTableHasALineForEachPolicyAndWhatItDecided) {
  const std::string text = render_simulation_text(play("all"));
  for (const std::string_view name : policies::kLimitPolicyNames) {
    EXPECT_NE(text.find("\n" + std::string(name) + " "), text.npos) << text;
  }
  EXPECT_NE(text.find("knee decided: helps "), text.npos) << text;
}

TEST(SimulateRender, TheChartHasThreeLinesForEachRunAndStandsAlone) {
  const std::string svg = render_simulation_svg(play("all"));
  EXPECT_TRUE(svg.starts_with("<svg xmlns="));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(count(svg, "<polyline "), 3 * policies::kLimitPolicyNames.size());
  EXPECT_EQ(count(svg, "<script"), 0U);
  EXPECT_EQ(count(svg, "href"), 0U);
  EXPECT_EQ(count(svg, "nan"), 0U);
  EXPECT_EQ(count(svg, "<text"), count(svg, "</text>"));
}

}  // namespace
}  // namespace streamgate::tools

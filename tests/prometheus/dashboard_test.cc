// SPDX-License-Identifier: Apache-2.0
//
// The dashboard against the table of metrics: no panel asks for what is not there, and nothing that
// is there has no panel.
#include <streamgate/metrics/metric_table.h>

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "queries.h"

namespace streamgate::testing {
namespace {

std::set<std::string> table() {
  std::set<std::string> names;
  for (const metrics::Metric& metric : metrics::metric_table()) names.emplace(metric.name);
  return names;
}

TEST(Dashboard, NoQueryAsksForAMetricThatDoesNotExist) {
  const std::set<std::string> known = table();
  std::vector<Query> queries = dashboard_queries();
  for (const Query& query : documented_queries()) queries.push_back(query);
  for (const Query& query : shipped_rules().expressions) queries.push_back(query);
  for (const Query& query : queries) {
    for (const std::string& name : metrics_in(query.text)) {
      EXPECT_TRUE(known.contains(name)) << query.where << " asks for " << name;
    }
  }
}

TEST(Dashboard, EveryMetricHasAPanel) {
  std::set<std::string> drawn;
  for (const Query& query : dashboard_queries()) drawn.merge(metrics_in(query.text));
  for (const std::string& name : table()) {
    if (name == "streamgate_arena_raised_global_limit") continue;  // Doctor's business.
    EXPECT_TRUE(drawn.contains(name)) << name;
  }
}

TEST(Dashboard, PanelsHaveTitlesAndTextsAndDoNotOverlap) {
  std::set<int> ids;
  std::set<std::pair<int, int>> taken;
  const nlohmann::json all = dashboard();
  for (const auto& panel : all.at("panels")) {
    const std::string title = panel.at("title");
    EXPECT_TRUE(ids.insert(panel.at("id").get<int>()).second) << title;
    EXPECT_FALSE(title.empty());
    if (panel.at("type") != "row") {
      EXPECT_FALSE(panel.at("description").get<std::string>().empty()) << title;
    }
    const auto& place = panel.at("gridPos");
    for (int y = place.at("y"); y < place.at("y").get<int>() + place.at("h").get<int>(); ++y) {
      for (int x = place.at("x"); x < place.at("x").get<int>() + place.at("w").get<int>(); ++x) {
        EXPECT_LT(x, 24) << title;
        EXPECT_TRUE(taken.emplace(x, y).second) << title << " lies on another panel";
      }
    }
  }
}

TEST(Dashboard, EveryPanelAsksTheChosenSource) {
  const nlohmann::json all = dashboard();
  for (const auto& panel : all.at("panels")) {
    if (panel.at("type") == "row") continue;
    EXPECT_EQ(panel.at("datasource").at("uid"), "${datasource}") << panel.at("title");
    for (const auto& target : panel.at("targets")) {
      EXPECT_NE(target.at("expr").get<std::string>().find("job=~\"$job\""), std::string::npos)
          << panel.at("title");
    }
  }
}

}  // namespace
}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
#include "queries.h"

#include <streamgate/metrics/internal/metric_questions.h>
#include <streamgate/metrics/metric_table.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace streamgate::testing {
namespace {

std::string source(const std::string& name) {
  std::ifstream file(std::string(STREAMGATE_SOURCE_DIR) + "/" + name);
  if (!file) throw std::runtime_error("no " + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

std::string with_all(std::string query) {
  replace_all(query, "$__rate_interval", "1m");
  for (const std::string_view variable : {"$job", "$instance", "$executor", "$class"}) {
    replace_all(query, variable, ".*");
  }
  if (query.find('$') != query.npos) throw std::runtime_error("an unknown variable in " + query);
  return query;
}

std::string trimmed(std::string text) {
  text.erase(0, text.find_first_not_of(' '));
  return text;
}

}  // namespace

nlohmann::json dashboard() {
  return nlohmann::json::parse(source("metrics/grafana/streamgate.json"));
}

std::vector<Query> documented_queries() {
  std::vector<Query> queries;
  for (const auto& each : metrics::internal::kMetricQuestions) {
    queries.push_back({std::string(each.question), std::string(each.query)});
  }
  return queries;
}

std::vector<Query> dashboard_queries() {
  std::vector<Query> queries;
  const nlohmann::json all = dashboard();
  for (const auto& panel : all.at("panels")) {
    for (const auto& target : panel.value("targets", nlohmann::json::array())) {
      queries.push_back({"panel " + panel.at("title").get<std::string>(),
                         with_all(target.at("expr").get<std::string>())});
    }
  }
  for (const auto& each : all.at("annotations").at("list")) {
    queries.push_back({"annotation " + each.at("name").get<std::string>(),
                       with_all(each.at("expr").get<std::string>())});
  }
  for (const auto& variable : all.at("templating").at("list")) {
    if (variable.at("type") != "query") continue;
    // label_values(SELECTOR, LABEL): the series that the variable takes its values from.
    std::string text = with_all(variable.at("definition").get<std::string>());
    const std::size_t open = text.find('(');
    queries.push_back({"variable " + variable.at("name").get<std::string>(),
                       text.substr(open + 1, text.rfind(',') - open - 1)});
  }
  return queries;
}

Rules shipped_rules() {
  // The file is ours, and of one manner: "expr: TEXT", or "expr: >-" and deeper lines.
  Rules rules;
  std::istringstream lines(source("metrics/prometheus/streamgate.rules.yml"));
  std::string name;
  bool folded = false;
  for (std::string line; std::getline(lines, line);) {
    const std::string text = trimmed(line);
    const std::size_t indent = line.size() - text.size();
    if (folded && indent > 8) {
      rules.expressions.back().text += text + " ";
      continue;
    }
    folded = false;
    if (text.starts_with("- record: ")) rules.recorded.push_back(name = text.substr(10));
    if (text.starts_with("- alert: ")) rules.alerts.push_back(name = text.substr(9));
    if (!text.starts_with("expr: ")) continue;
    folded = text == "expr: >-";
    rules.expressions.push_back({name, folded ? "" : text.substr(6)});
  }
  return rules;
}

std::set<std::string> metrics_in(const std::string& query) {
  const auto is_letter = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == ':';
  };
  std::set<std::string> names;
  for (auto at = query.begin(); at != query.end();) {
    const auto end = std::find_if_not(at, query.end(), is_letter);
    std::string name(at, end);
    at = end == query.end() ? end : std::next(end);
    if (!name.starts_with("streamgate_")) continue;
    for (const metrics::Metric& metric : metrics::metric_table()) {
      if (metric.type != metrics::MetricType::kHistogram) continue;
      for (const char* suffix : {"_bucket", "_sum", "_count"}) {
        if (name == std::string(metric.name) + suffix) name = metric.name;
      }
    }
    names.insert(name);
  }
  return names;
}

}  // namespace streamgate::testing

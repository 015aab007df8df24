// SPDX-License-Identifier: Apache-2.0
//
// Every query that the project ships: of the docs, the dashboard and the rules. And which of our
// metrics a query names.
#pragma once

#include <nlohmann/json.hpp>

#include <set>
#include <string>
#include <vector>

namespace streamgate::testing {

struct Query {
  std::string where;  ///< For messages.
  std::string text;   ///< PromQL, with the dashboard's variables replaced as by "All".
};

[[nodiscard]] nlohmann::json dashboard();
[[nodiscard]] std::vector<Query> documented_queries();
[[nodiscard]] std::vector<Query> dashboard_queries();

/// Of the rules file, in its order.
struct Rules {
  std::vector<std::string> recorded;  ///< The names of the series.
  std::vector<std::string> alerts;    ///< The names.
  std::vector<Query> expressions;     ///< Of all of them.
};
[[nodiscard]] Rules shipped_rules();

/// "streamgate_..." as in the table: a histogram's series count as the histogram. What rules record
/// is not among them.
[[nodiscard]] std::set<std::string> metrics_in(const std::string& query);

}  // namespace streamgate::testing

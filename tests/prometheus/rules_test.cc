// SPDX-License-Identifier: Apache-2.0
//
// The shipped rules as promtool sees them, and that each of them is tried in rules_test.yml.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../support/child_process.h"
#include "queries.h"

namespace streamgate::testing {
namespace {

constexpr const char* kSource = STREAMGATE_SOURCE_DIR;

ChildResult promtool(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"/usr/bin/env", "promtool"});
  return run_child(std::move(arguments), std::chrono::seconds(60));
}

TEST(Rules, PromtoolFindsNothingWrongWithThem) {
  const ChildResult checked = promtool(
      {"check", "rules", std::string(kSource) + "/metrics/prometheus/streamgate.rules.yml"});
  ASSERT_NE(checked.exit_code, 127) << "promtool is missing: ./dev test fetches it";
  EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
}

TEST(Rules, AlertsFireWhenTheyShouldAndOnlyThen) {
  const ChildResult played =
      promtool({"test", "rules", std::string(kSource) + "/tests/prometheus/rules_test.yml"});
  ASSERT_NE(played.exit_code, 127) << "promtool is missing: ./dev test fetches it";
  EXPECT_EQ(played.exit_code, 0) << played.out << played.err;
}

TEST(Rules, EveryAlertIsPlayed) {
  std::ostringstream text;
  text << std::ifstream(std::string(kSource) + "/tests/prometheus/rules_test.yml").rdbuf();
  for (const std::string& alert : shipped_rules().alerts) {
    const std::string expected = "- alertname: " + alert + "\n";
    EXPECT_NE(text.str().find(expected), std::string::npos) << alert << " is never seen to fire";
  }
}

}  // namespace
}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// The two faces of a report: a table that lines up, and JSON with stable, documented fields.
#include "doctor/render.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace streamgate::tools {
namespace {

using Json = nlohmann::json;

Report example() {
  Report report{.version = "0.1.0", .backends = {"cpu", "inline"}};
  report.libtorch = {.version = "2.6.0", .header_version = "2.6.0", .path = "/lib/libtorch_cpu.so"};
  report.blas = {
      .kind = BlasKind::kOpenBlas, .threading = BlasThreading::kPthread, .own_threads = 8};
  report.device = {.provenance = {.backend = "cpu", .device = "a CPU"}, .stream_tier = "none"};
  report.machine = {.cores = 8, .usable_cores = 2, .cpu_quota_cores = 1.5};
  report.operation = {.per_second = 15'540.4};
  report.limits.used = {.state = executor::LimitsState::kMismatch,
                        .file = "l.toml",
                        .differences = {"device M4 there, M1 here", "os a there, b here"}};
  report.effective = policies::Config{};
  return report;
}

const std::vector<Finding> kFindings = {
    {Severity::kWarning, "an_id", "something is odd", "do something"}};

/// "libtorch.version", "findings[].id": every field, by its way from the top.
void collect_fields(const Json& json, const std::string& prefix, std::set<std::string>& fields) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      // The gates are alike: one name stands for all.
      const std::string name = prefix == "effective.gates" ? "CLASS" : key;
      collect_fields(value, prefix.empty() ? name : prefix + "." + name, fields);
    }
  } else if (json.is_array() && !json.empty() && json[0].is_object()) {
    collect_fields(json[0], prefix + "[]", fields);
  } else {
    fields.insert(prefix);
  }
}

TEST(RenderJson, HasExactlyTheFieldsThatTheDocsDescribe) {
  std::set<std::string> fields;
  collect_fields(Json::parse(render_json(example(), kFindings)), "", fields);

  std::ifstream docs(STREAMGATE_DOCS "/doctor.md");
  std::set<std::string> documented;
  for (std::string line; std::getline(docs, line);) {
    if (line.starts_with("| `")) documented.insert(line.substr(3, line.find('`', 3) - 3));
  }
  EXPECT_EQ(fields, documented);
}

TEST(RenderJson, EveryFindingIsInTheDocs) {
  std::ifstream file(STREAMGATE_DOCS "/doctor.md");
  const std::string docs{std::istreambuf_iterator<char>(file), {}};
  for (const char* id :
       {"config_invalid", "executor_failed", "limits_unusable", "limits_missing", "limits_mismatch",
        "op_table_unusable", "operation_failed", "operation_slow", "libtorch_headers_differ", "second_libtorch",
        "reference_blas", "blas_own_threads", "two_openmp_runtimes", "cpu_quota",
        "oversubscribed"}) {
    EXPECT_NE(docs.find("- `" + std::string(id) + "`"), docs.npos) << id;
  }
}

TEST(RenderJson, UnknownIsNull) {
  Report report = example();
  report.limits = {};
  const Json json = Json::parse(render_json(report, {}));
  EXPECT_TRUE(json.at("libtorch").at("git_hash").is_null());
  EXPECT_TRUE(json.at("device").at("driver").is_null());
  EXPECT_TRUE(json.at("config").at("file").is_null());
  EXPECT_TRUE(json.at("limits").is_null());
  EXPECT_EQ(json.at("status"), "fine");
}

TEST(RenderJson, LimitsAreUsedElsewhereOrUnusable) {
  const auto limits_of = [](const Report& report) {
    return Json::parse(render_json(report, {})).at("limits");
  };
  Report report = example();
  EXPECT_EQ(limits_of(report), Json({{"file", "l.toml"},
                                     {"state", "mismatch"},
                                     {"differences", report.limits.used.differences},
                                     {"errors", Json::array()}}));
  report.limits.used.state = executor::LimitsState::kUsed;
  report.limits.used.differences.clear();
  EXPECT_EQ(limits_of(report).at("state"), "used");
  report.limits = {.used = {.file = "l.toml"}, .errors = {"l.toml:1: one"}};
  EXPECT_EQ(limits_of(report).at("state"), "unusable");
  EXPECT_EQ(limits_of(report).at("errors"), Json({"l.toml:1: one"}));
}

TEST(RenderText, SaysWhatBecameOfTheLimits) {
  const auto says = [](const Report& report, const std::string& what) {
    return render_text(report, {}).find("\nlimits       " + what + "\n") != std::string::npos;
  };
  Report report = example();
  EXPECT_TRUE(says(report, "l.toml, not used: device M4 there, M1 here, os a there, b here"));
  report.limits.used.state = executor::LimitsState::kUsed;
  report.limits.used.differences.clear();
  EXPECT_TRUE(says(report, "l.toml, used"));
  report.limits = {.used = {.file = "l.toml"}, .errors = {"one", "two"}};
  EXPECT_TRUE(says(report, "l.toml, 2 errors"));
  report.limits = {.used = {.needed = true}};
  EXPECT_TRUE(says(report, "none measured"));
  report.limits = {};
  EXPECT_TRUE(says(report, "none measured, none needed"));
}

TEST(RenderJson, NumbersAreNumbers) {
  const Json json = Json::parse(render_json(example(), kFindings));
  EXPECT_EQ(json.at("operation").at("per_second"), 15'540);
  EXPECT_EQ(json.at("machine").at("cpu_quota_cores"), 1.5);
  EXPECT_EQ(json.at("blas").at("own_threads"), 8);
  EXPECT_EQ(json.at("status"), "warnings");
}

TEST(RenderJson, APathThatIsNotUtf8IsStillJson) {
  Report report = example();
  report.libtorch.path = "/tmp/\xff\xfe/libtorch_cpu.so";
  EXPECT_TRUE(Json::parse(render_json(report, {}), nullptr, false).is_object());
}

TEST(RenderText, LinesUpAndEndsWithTheSummary) {
  const std::string text = render_text(example(), kFindings);
  EXPECT_NE(text.find("\nlibtorch     2.6.0, git hash unknown\n             /lib/"), text.npos)
      << text;
  EXPECT_NE(text.find("15,540 a second"), text.npos) << text;
  EXPECT_NE(text.find("8, of which 2 by the affinity of this process, CPU quota 1.5"), text.npos);
  EXPECT_NE(text.find("WARNING  something is odd\n  remedy: do something\n"), text.npos) << text;
  EXPECT_TRUE(text.ends_with("\n1 warning.\n")) << text;
  EXPECT_TRUE(render_text(example(), {}).ends_with("\nFine.\n"));
}

TEST(RenderText, CountsErrorsApartFromWarnings) {
  std::vector<Finding> findings = kFindings;
  findings.push_back({Severity::kError, "id", "broken", "mend"});
  EXPECT_TRUE(render_text(example(), findings).ends_with("\nUnusable: 1 error, 1 warning.\n"));
}

}  // namespace
}  // namespace streamgate::tools

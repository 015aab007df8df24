// SPDX-License-Identifier: Apache-2.0
//
// The promises of the table of metrics: unique names by Prometheus's conventions, samples that fit
// their row, and a docs page that says the same.
#include <streamgate/metrics/internal/metrics_markdown.h>
#include <streamgate/metrics/metric_table.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "example_snapshot.h"

namespace streamgate::metrics {
namespace {

TEST(MetricTable, NamesAreUniqueAndOurs) {
  std::set<std::string_view> names;
  for (const Metric& metric : metric_table()) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name;
    EXPECT_TRUE(metric.name.starts_with("streamgate_")) << metric.name;
  }
}

TEST(MetricTable, NamesEndAsTheirTypeAndUnitAsk) {
  for (const Metric& metric : metric_table()) {
    EXPECT_EQ(metric.type == MetricType::kCounter, metric.name.ends_with("_total")) << metric.name;
    EXPECT_EQ(metric.type == MetricType::kInfo, metric.name.ends_with("_info")) << metric.name;
    EXPECT_EQ(metric.unit == "seconds", metric.name.ends_with("_seconds")) << metric.name;
    EXPECT_EQ(metric.unit == "bytes",
              metric.name.ends_with("_bytes") || metric.name.ends_with("_bytes_total"))
        << metric.name;
    EXPECT_TRUE(metric.type != MetricType::kHistogram || metric.unit == "seconds") << metric.name;
  }
}

TEST(MetricTable, HelpIsOneSentence) {
  for (const Metric& metric : metric_table()) {
    EXPECT_TRUE(metric.help.ends_with('.')) << metric.name;
    EXPECT_EQ(metric.help.find('\n'), metric.help.npos) << metric.name;
    EXPECT_EQ(metric.help.find('|'), metric.help.npos) << metric.name << ": breaks the docs' table";
  }
}

TEST(MetricTable, EverySampleHasAValueForEachLabelAndAHistogramWhereOneIsDue) {
  const executor::Snapshot snapshot = example_snapshot();
  const executor::Provenance provenance = example_provenance();
  for (const Metric& metric : metric_table()) {
    const auto samples = metric.samples({snapshot, provenance});
    EXPECT_FALSE(samples.empty()) << metric.name;
    std::set<std::vector<std::string>> seen;
    for (const Sample& sample : samples) {
      EXPECT_EQ(sample.labels.size(), metric.labels.size()) << metric.name;
      EXPECT_EQ(sample.histogram != nullptr, metric.type == MetricType::kHistogram) << metric.name;
      EXPECT_TRUE(seen.insert(sample.labels).second) << metric.name << ": one series twice";
      if (metric.type == MetricType::kInfo) {
        EXPECT_EQ(sample.value, 1) << metric.name;
      }
    }
  }
}

TEST(MetricTable, NoLabelOfItsOwnIsTheExecutors) {
  for (const Metric& metric : metric_table()) {
    for (const std::string_view label : metric.labels) EXPECT_NE(label, kExecutorLabel);
  }
}

TEST(MetricTable, DocsPageIsMadeFromTheTable) {
  const std::string path = std::string(STREAMGATE_SOURCE_DIR) + "/docs/metrics.md";
  const std::string expected = internal::metrics_markdown();
  if (std::getenv("STREAMGATE_UPDATE_DOCS") != nullptr) {
    std::ofstream(path, std::ios::binary) << expected;
  }
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  EXPECT_EQ(text.str(), expected)
      << path << " is out of step; run this test once with STREAMGATE_UPDATE_DOCS=1";
}

TEST(MetricTable, DocsPageNamesEveryMetric) {
  const std::string text = internal::metrics_markdown();
  for (const Metric& metric : metric_table()) {
    EXPECT_NE(text.find("| `" + std::string(metric.name) + "` | "), text.npos) << metric.name;
    EXPECT_NE(text.find(metric.help), text.npos) << metric.name;
  }
}

}  // namespace
}  // namespace streamgate::metrics

// SPDX-License-Identifier: Apache-2.0
//
// The words around the table of metrics, and the table as Markdown.
#include <streamgate/executor/snapshot.h>
#include <streamgate/metrics/internal/metric_questions.h>
#include <streamgate/metrics/internal/metrics_markdown.h>
#include <streamgate/metrics/metric_table.h>

#include <string_view>

namespace streamgate::metrics::internal {
namespace {

constexpr std::string_view kBefore = R"(# Metrics

<!-- Made from metrics/metric_table.cc. To change it, change that, or the words in
     metrics/internal/metrics_markdown.cc, and run the metrics tests with STREAMGATE_UPDATE_DOCS=1. -->

A `streamgate::metrics::Endpoint` serves these in Prometheus's text format at `/metrics`, on 127.0.0.1
and a free port unless `[metrics]` in the config says otherwise. A service with a server of its own
registers a `streamgate::metrics::Collector` there.

Every series carries the label `executor`, the name under which the executor was added, beside the
labels in the table. `class` is a lane for tasks (`raw`, `kernel`, `graph`, `kernel+graph`,
`exclusive`) and an op class for gates (the same without `kernel+graph`, which takes a permit of
both).

| metric | type | unit | labels | meaning |
|---|---|---|---|---|
)";

constexpr std::string_view kAfter = R"(
## Which series there are

- `streamgate_tasks_total` has a series for every class and outcome from the first scrape on, at 0, so
  that `rate()` and `increase()` see the first event. `outcome` is `ok`, `rejected`, `expired`,
  `cancelled`, `worker_died` or `failed`; `reason` is empty but for `rejected`, where it is
  `queue_full`, `bytes_full`, `shed`, `shutdown`, `quarantined` or `too_large`.
- The histograms have series only for classes in which a task has run, whatever the outcome. Their
  bounds go from )";

constexpr std::string_view kAfterBounds = R"( in 1-2.5-5 steps.
- A scrape takes one snapshot of each executor, but not an instant of it: numbers of one scrape may
  differ by the tasks that ended meanwhile. A histogram's count is always that of its buckets.
- An executor whose snapshot fails is left out of that scrape: its series go stale.

## Questions

| question | query |
|---|---|
)";

constexpr std::string_view kRulesAndDashboard = R"(
## Rules, alerts and a dashboard

`metrics/prometheus/streamgate.rules.yml` (installed under `share/streamgate`) has recording rules and
alerts for a saturated gate, a growing wait, a full queue, workers that die, a failed reload, limits of
another build and quarantine; name it under `rule_files` of Prometheus. `metrics/grafana/streamgate.json`
is a dashboard for Grafana: Dashboards, Import, this file. Both are tested: `promtool` checks and plays the
rules, and a Prometheus that scrapes an executor under load is asked every query of the table above, of
the rules and of the dashboard's panels (`tests/prometheus`).
)";

std::string code(std::string_view text) {
  std::string quoted(1, '`');
  return quoted.append(text).append(1, '`');
}

std::string row(const Metric& metric) {
  std::string labels;
  for (const std::string_view label : metric.labels) {
    labels += (labels.empty() ? "" : ", ") + code(label);
  }
  const std::string type =
      metric.type == MetricType::kInfo ? "gauge, always 1" : std::string(to_string(metric.type));
  return "| " + code(metric.name) + " | " + type + " | " + std::string(metric.unit) + " | " +
         labels + " | " + std::string(metric.help) + " |\n";
}

}  // namespace

std::string metrics_markdown() {
  std::string text(kBefore);
  for (const Metric& metric : metric_table()) text += row(metric);
  const auto& bounds = executor::duration_bounds();
  text += kAfter;
  text += "1 us to " + std::to_string(bounds.back().count() / 1'000'000'000) + " s";
  text += kAfterBounds;
  for (const MetricQuestion& each : kMetricQuestions) {
    text += "| " + std::string(each.question) + " | " + code(each.query) + " |\n";
  }
  text += kRulesAndDashboard;
  return text;
}

}  // namespace streamgate::metrics::internal

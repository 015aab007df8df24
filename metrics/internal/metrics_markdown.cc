// SPDX-License-Identifier: Apache-2.0
//
// The words around the table of metrics, and the table as Markdown.
#include <streamgate/executor/snapshot.h>
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
  `queue_full`, `bytes_full`, `shed`, `shutdown` or `quarantined`.
- The histograms have series only for classes in which a task has run, whatever the outcome. Their
  bounds go from )";

constexpr std::string_view kAfterBounds = R"( in 1-2.5-5 steps.
- A scrape takes one snapshot of each executor, but not an instant of it: numbers of one scrape may
  differ by the tasks that ended meanwhile. A histogram's count is always that of its buckets.
- An executor whose snapshot fails is left out of that scrape: its series go stale.

## Questions

| question | query |
|---|---|
| How many tasks end well, a second? | `sum by (executor, class) (rate(streamgate_tasks_total{outcome="ok"}[1m]))` |
| What becomes of the others? | `sum by (outcome, reason) (rate(streamgate_tasks_total{outcome!="ok"}[5m]))` |
| How long do all but one in 100 tasks wait, at most? | `histogram_quantile(0.99, sum by (class, le) (rate(streamgate_task_wait_seconds_bucket[5m])))` |
| Is the gate the bottleneck? | `streamgate_gate_in_use / streamgate_gate_limit` |
| Is the policy held down by the safe width? | `streamgate_gate_limit == streamgate_gate_ceiling` |
| How full is the queue? | `streamgate_queue_tasks / streamgate_queue_max_tasks` |
| Has a reload failed? | `increase(streamgate_config_reloads_total{result="failed"}[1h]) > 0` |
)";

std::string code(std::string_view text) { return "`" + std::string(text) + "`"; }

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
  return text;
}

}  // namespace streamgate::metrics::internal

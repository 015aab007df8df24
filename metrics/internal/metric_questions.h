// SPDX-License-Identifier: Apache-2.0
//
// What operators ask of the metrics, as PromQL. Here once: docs/metrics.md prints them, and a test
// asks a real Prometheus each of them.
#pragma once

#include <array>
#include <string_view>

namespace streamgate::metrics::internal {

struct MetricQuestion {
  std::string_view question;
  std::string_view query;
};

inline constexpr std::array<MetricQuestion, 9> kMetricQuestions = {{
    {"How many tasks end well, a second?",
     R"(sum by (executor, class) (rate(streamgate_tasks_total{outcome="ok"}[1m])))"},
    {"What becomes of the others?",
     R"(sum by (outcome, reason) (rate(streamgate_tasks_total{outcome!="ok"}[5m])))"},
    {"How long do all but one in 100 tasks wait, at most?",
     "histogram_quantile(0.99, sum by (class, le) "
     "(rate(streamgate_task_wait_seconds_bucket[5m])))"},
    {"Is the gate the bottleneck?", "streamgate_gate_in_use / streamgate_gate_limit"},
    {"Is the policy held down by the safe width?",
     "streamgate_gate_limit == streamgate_gate_ceiling"},
    {"How far is the limit from the measured knee?",
     "streamgate_gate_limit - streamgate_gate_knee"},
    {"How full is the queue?", "streamgate_queue_tasks / streamgate_queue_max_tasks"},
    {"Which executors go on with an older config than their file's?",
     "streamgate_config_last_reload_successful == 0"},
    {"How often has a reload failed?",
     R"(increase(streamgate_config_reloads_total{result="failed"}[1h]))"},
}};

}  // namespace streamgate::metrics::internal

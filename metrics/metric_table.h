// SPDX-License-Identifier: Apache-2.0
//
// The one table of metrics: what each is called, what it means, and how its samples follow from a
// snapshot. Nothing of an exporter: collector.h hands the samples to Prometheus.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::metrics {

enum class MetricType : std::uint8_t {
  kCounter,
  kGauge,
  kInfo,      ///< A gauge that is always 1: its labels are what it says.
  kHistogram  ///< Of seconds, with executor::duration_bounds() as its bounds.
};

/// "counter", "gauge" or "histogram": the word in a scrape, where an info is a gauge.
[[nodiscard]] std::string_view to_string(MetricType type) noexcept;

/// The label that every metric carries beside its own: which executor of the process it is about.
inline constexpr std::string_view kExecutorLabel = "executor";

/// What one executor is observed as. Borrows both.
struct Observation {
  const executor::Snapshot& snapshot;
  const executor::Provenance& provenance;
};

/// One sample. A histogram is borrowed from the observation's snapshot, and `value` is unused.
struct Sample {
  std::vector<std::string> labels;  ///< The values, in the order of Metric::labels.
  double value = 0;
  const executor::DurationHistogram* histogram = nullptr;
};

/// One row of the table: the single source of the scrape and of docs/metrics.md.
struct Metric {
  std::string_view name;
  MetricType type;
  std::string_view unit;                 ///< "tasks", "seconds"; empty when the value has none.
  std::vector<std::string_view> labels;  ///< Its own, without kExecutorLabel.
  std::string_view help;                 ///< One sentence.
  /// Never throws but for want of memory.
  std::vector<Sample> (*samples)(const Observation&);
};

/// Every metric, in the order of a scrape. The table lives as long as the program.
[[nodiscard]] const std::vector<Metric>& metric_table();

}  // namespace streamgate::metrics

// SPDX-License-Identifier: Apache-2.0
//
// From the table's samples to Prometheus's families, and who may be scraped when.
#include <streamgate/executor/executor.h>
#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/metric_table.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <utility>

namespace streamgate::metrics {
namespace {

constexpr std::size_t kMaxNameLength = 64;

bool is_printable(char c) { return c >= ' ' && c <= '~'; }

/// A label's value that Prometheus takes: it refuses a whole scrape for one byte that is not UTF-8,
/// and a device's name comes from outside.
std::string label_value(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return !is_printable(c); }, '?');
  return text;
}

prometheus::MetricType prometheus_type(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return prometheus::MetricType::Counter;
    case MetricType::kHistogram:
      return prometheus::MetricType::Histogram;
    case MetricType::kGauge:
    case MetricType::kInfo:
      break;
  }
  return prometheus::MetricType::Gauge;
}

double seconds(std::chrono::nanoseconds duration) {
  // One division, correctly rounded: 25 us is 2.5e-05, as it is typed, so that `le` matches it.
  return static_cast<double>(duration.count()) / 1e9;
}

/// Prometheus's buckets are cumulative. The count is that of the buckets, not counted apart: the
/// two agree however the snapshot was torn.
prometheus::ClientMetric::Histogram histogram_of(const executor::DurationHistogram& durations) {
  prometheus::ClientMetric::Histogram histogram;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < durations.counts.size(); ++i) {
    count += durations.counts[i];
    prometheus::ClientMetric::Bucket bucket;
    bucket.cumulative_count = count;
    bucket.upper_bound = i < executor::kDurationBounds ? seconds(executor::duration_bounds()[i])
                                                       : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back(bucket);
  }
  histogram.sample_count = count;
  histogram.sample_sum = seconds(durations.sum);
  return histogram;
}

prometheus::ClientMetric client_metric(const Metric& metric, const std::string& executor_name,
                                       Sample sample) {
  prometheus::ClientMetric out;
  out.label.push_back({std::string(kExecutorLabel), executor_name});
  for (std::size_t i = 0; i < metric.labels.size(); ++i) {
    out.label.push_back({std::string(metric.labels[i]), label_value(std::move(sample.labels[i]))});
  }
  switch (metric.type) {
    case MetricType::kCounter:
      out.counter.value = sample.value;
      break;
    case MetricType::kGauge:
    case MetricType::kInfo:
      out.gauge.value = sample.value;
      break;
    case MetricType::kHistogram:
      out.histogram = histogram_of(*sample.histogram);
      break;
  }
  return out;
}

}  // namespace

struct Collector::Source {
  std::string name;
  executor::Provenance provenance;
  SnapshotFunction snapshot;
  bool removed = false;                 // Guarded by the collector's mutex.
  std::atomic<std::size_t> readers{0};  // Scrapes in `snapshot`; raised under the mutex only.
};

Collector::Collector() = default;
Collector::~Collector() = default;

void Collector::add(std::string name, const executor::Executor& executor) {
  add(std::move(name), executor.provenance(), [&executor] { return executor.snapshot(); });
}

void Collector::add(std::string name, executor::Provenance provenance, SnapshotFunction snapshot) {
  if (name.empty() || name.size() > kMaxNameLength ||
      !std::all_of(name.begin(), name.end(), is_printable)) {
    throw std::invalid_argument("the name of an executor in metrics must be 1 to " +
                                std::to_string(kMaxNameLength) + " printable ASCII characters");
  }
  if (!snapshot) throw std::invalid_argument("executor \"" + name + "\": no snapshot function");
  auto source = std::make_shared<Source>();
  source->name = std::move(name);
  source->provenance = std::move(provenance);
  source->snapshot = std::move(snapshot);

  const std::lock_guard lock(mutex_);
  for (const auto& other : sources_) {
    if (other->name != source->name) continue;
    throw std::invalid_argument("executor \"" + source->name +
                                "\" is in these metrics already; give each a name of its own");
  }
  sources_.push_back(std::move(source));
}

void Collector::remove(std::string_view name) {
  std::shared_ptr<Source> source;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(sources_.begin(), sources_.end(),
                                    [&](const auto& each) { return each->name == name; });
    if (found == sources_.end()) return;
    source = std::move(*found);
    source->removed = true;
    sources_.erase(found);
  }
  // No reader comes to a source once it is removed. There is no deadline: to return early would let
  // a scrape read an executor that has ended.
  while (const std::size_t readers = source->readers.load()) source->readers.wait(readers);
  source->snapshot = nullptr;  // A scrape may yet hold the source; what it captured ends here.
}

std::optional<executor::Snapshot> Collector::read(Source& source) const {
  {
    const std::lock_guard lock(mutex_);
    if (source.removed) return std::nullopt;
    ++source.readers;
  }
  std::optional<executor::Snapshot> snapshot;
  try {
    snapshot = source.snapshot();
  } catch (...) {
    // The scraper's thread is a C server's: an exception would end the process.
  }
  --source.readers;
  source.readers.notify_all();
  return snapshot;
}

std::vector<Collector::Seen> Collector::read_all() const {
  std::vector<std::shared_ptr<Source>> sources;
  {
    const std::lock_guard lock(mutex_);
    sources = sources_;
  }
  std::vector<Seen> seen;
  seen.reserve(sources.size());
  for (const auto& source : sources) {
    if (auto snapshot = read(*source)) {
      seen.push_back({source->name, source->provenance, *std::move(snapshot)});
    }
  }
  return seen;
}

std::vector<prometheus::MetricFamily> Collector::Collect() const {
  const std::vector<Seen> executors = read_all();
  std::vector<prometheus::MetricFamily> families;
  families.reserve(metric_table().size());
  for (const Metric& metric : metric_table()) {
    prometheus::MetricFamily& family = families.emplace_back();
    family.name = metric.name;
    family.help = metric.help;
    family.type = prometheus_type(metric.type);
    for (const Seen& each : executors) {
      for (Sample& sample : metric.samples({each.snapshot, each.provenance})) {
        family.metric.push_back(client_metric(metric, each.name, std::move(sample)));
      }
    }
  }
  return families;
}

}  // namespace streamgate::metrics

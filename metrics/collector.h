// SPDX-License-Identifier: Apache-2.0
//
// Executors as a Prometheus collectable, for services with a registry or HTTP server of their own;
// others use endpoint.h. What is collected is the table in metric_table.h.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {
class Executor;
}  // namespace streamgate::executor

namespace streamgate::metrics {

/// Where a snapshot comes from. Called on the thread of whoever scrapes, perhaps on several at
/// once.
using SnapshotFunction = std::function<executor::Snapshot()>;

/// The metrics of one or more executors, told apart by the label `executor`. Each scrape takes one
/// snapshot of each; nothing of this is on a task's path. Give a scrape one collector with all
/// executors rather than one for each: a family may appear only once in the text format.
///
/// Thread-safety: thread-safe.
/// Ownership: borrows the executors. An executor must be removed before it ends, or the collector
/// must have ended: prometheus::Exposer keeps a collector alive while it collects, so dropping the
/// last pointer of one's own is not enough.
/// Blocking: Collect for the snapshots, some microseconds each; remove until no scrape is in that
/// executor's snapshot. No lock is held while a snapshot is taken.
/// Failure: add throws std::invalid_argument for a name that is taken, or is not 1 to 64 printable
/// ASCII characters. An executor whose snapshot throws is left out of that scrape.
///
///     auto collector = std::make_shared<streamgate::metrics::Collector>();
///     collector->add("default", executor);
///     my_exposer.RegisterCollectable(collector);
///     ...
///     collector->remove("default");  // Before the executor ends.
class Collector : public prometheus::Collectable {
 public:
  Collector();
  ~Collector() override;
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  void add(std::string name, const executor::Executor& executor);
  void add(std::string name, executor::Provenance provenance, SnapshotFunction snapshot);

  /// Ends the collection under that name; without effect when there is none.
  /// ENSURES: the executor is not, and will not be, touched by this collector.
  /// REQUIRES: not called from within a snapshot function.
  void remove(std::string_view name);

  /// Every family of the table, in its order.
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

  /// One executor at one moment.
  struct Seen {
    std::string name;
    executor::Provenance provenance;
    executor::Snapshot snapshot;
  };
  /// One snapshot of each, in the order in which they were added: what Collect and Status read.
  [[nodiscard]] std::vector<Seen> read_all() const;

 private:
  struct Source;
  // The source's snapshot; nothing when it is removed, or throws.
  [[nodiscard]] std::optional<executor::Snapshot> read(Source& source) const;

  // Guards the list, and which sources are removed. Not held while a snapshot is taken.
  mutable std::mutex mutex_;
  // Shared with the scrapes that are in a source, since remove may come while they leave it.
  std::vector<std::shared_ptr<Source>> sources_;
};

}  // namespace streamgate::metrics

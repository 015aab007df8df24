// SPDX-License-Identifier: Apache-2.0
//
// The metrics of a service's executors over HTTP, for Prometheus to scrape. What is served is the
// table in metric_table.h; this is where, and for how long. Nothing of prometheus-cpp is included.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/policies/config.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace prometheus {
class Collectable;
}  // namespace prometheus

namespace streamgate::executor {
class Executor;
}  // namespace streamgate::executor

namespace streamgate::metrics {

/// Serves the metrics of executors, and of the service itself, at http://address:port/metrics, by
/// default on 127.0.0.1 at a free port; beside them the executors' status, as a page at / and as
/// JSON at /status.json, where the config's metrics.status allows that: by default on loopback
/// only. A config with metrics disabled makes an endpoint that takes everything and serves nothing,
/// so that a service need not ask.
///
/// Thread-safety: thread-safe.
/// Ownership: owns the HTTP server and its threads. Borrows the executors: each must outlive
/// the endpoint or be removed first. Declared after the executor, the endpoint ends before it.
/// Blocking: the constructor binds the port; remove waits for a scrape that is reading that
/// executor; the destructor waits for scrapes in progress, some seconds if a client has stalled.
/// With the status, a thread of its own takes four snapshots a second.
/// Failure: the constructor throws std::runtime_error that names address, port and remedy when it
/// cannot serve there. add throws as Collector::add. No scrape throws.
/// The server ignores SIGPIPE for the whole process, as cpp-httplib does.
///
///     streamgate::Executor executor(options);
///     streamgate::metrics::Endpoint endpoint(options.config.metrics);
///     endpoint.add("default", executor);
///     endpoint.add(my_registry);  // A std::shared_ptr<prometheus::Registry>.
///     std::cout << "metrics: " << endpoint.url() << '\n';
class Endpoint {
 public:
  explicit Endpoint(const policies::Config::Metrics& config = {});
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  /// As those of Collector: the name is the value of the label `executor`.
  void add(std::string name, const executor::Executor& executor);
  void add(std::string name, executor::Provenance provenance,
           std::function<executor::Snapshot()> snapshot);
  void remove(std::string_view name);

  /// Serves metrics of the service's own beside these, until the collectable ends; it is not kept
  /// alive but while it is collected. Its families must not be called as these are. One that throws
  /// is left out of that scrape.
  void add(std::weak_ptr<prometheus::Collectable> collectable);

  /// The port that is served on, also when 0 was asked for; 0 when metrics are disabled.
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// Where this machine reaches the metrics; empty when they are disabled.
  [[nodiscard]] const std::string& url() const noexcept;
  /// Where it reaches the status page; empty when that is not served.
  [[nodiscard]] const std::string& status_url() const noexcept;

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace streamgate::metrics

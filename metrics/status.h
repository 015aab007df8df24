// SPDX-License-Identifier: Apache-2.0
//
// What executors are doing and were doing in the last minutes, for people: as a page and as JSON,
// for services with an HTTP server of their own; others use endpoint.h. Not for alerts: those are
// Prometheus's.
#pragma once

#include <streamgate/metrics/collector.h>

#include <memory>
#include <string>
#include <string_view>

namespace streamgate::metrics {

/// The status of a collector's executors. A thread of its own looks at them four times a second and
/// keeps a point for each of the last 300 seconds; nothing of this is on a task's path.
///
/// Thread-safety: thread-safe.
/// Ownership: borrows the collector, which must outlive it. Owns its thread and the points, 0.2 MB
/// for each executor.
/// Blocking: json for the snapshots, some microseconds each, and for another's; the destructor for
/// one of its own.
/// Failure: json throws std::bad_alloc only. An executor whose snapshot throws is left out.
/// What it tells (names, paths, evidence of crashes) is for an operator: serve it on loopback, or
/// behind what keeps others out.
///
///     streamgate::metrics::Status status(*collector);
///     my_server.get("/", [&] { return html(status.page()); });
///     my_server.get("/status.json", [&] { return json(status.json()); });  // The page asks for
///     it.
class Status {
 public:
  explicit Status(const Collector& executors);
  ~Status();
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;

  /// One object; its fields are described in docs/top.md.
  [[nodiscard]] std::string json() const;

  /// HTML, whole: it needs nothing but `status.json` beside it. Lives as long as the program.
  [[nodiscard]] static std::string_view page() noexcept;

 private:
  class Sampler;
  std::unique_ptr<Sampler> sampler_;
};

}  // namespace streamgate::metrics

// SPDX-License-Identifier: Apache-2.0
//
// A snapshot made by hand in which no two numbers are equal, so that a sample with the number of
// another is seen; and a scrape without HTTP.
#pragma once

#include <prometheus/text_serializer.h>
#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/metrics/collector.h>

#include <chrono>
#include <sstream>
#include <string>

#include "../support/scrape.h"

namespace streamgate::metrics {

inline executor::Provenance example_provenance() {
  return {.backend = "inline", .libtorch = "2.6.0", .device = "EPYC", .driver = "d", .os = "o"};
}

/// Tasks ran in lanes 0 (raw) and 3 (kernel+graph) only.
inline executor::Snapshot example_snapshot() {
  using std::chrono::nanoseconds;
  executor::Snapshot snapshot;
  snapshot.backend = "cpu";
  snapshot.limits.state = executor::LimitsState::kMismatch;
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    for (std::size_t o = 0; o < executor::kOutcomes; ++o) {
      snapshot.lanes[lane].outcomes[o] = 1000 * (lane + 1) + o;
    }
    snapshot.lanes[lane].queued = 10 + lane;
  }
  for (const std::size_t lane : {std::size_t{0}, std::size_t{3}}) {
    executor::LaneSnapshot& counted = snapshot.lanes[lane];
    for (std::size_t i = 0; i < counted.wait.counts.size(); ++i) {
      counted.wait.counts[i] = i % 3 == 0 ? 0 : i + lane;
      counted.run.counts[i] = 2 * i + lane;
    }
    counted.wait.sum = nanoseconds(1'500'000'000 + static_cast<std::int64_t>(lane));
    counted.run.sum = nanoseconds(2'500'000'000 + static_cast<std::int64_t>(lane));
  }
  for (std::size_t i = 0; i < policies::kOpClasses; ++i) {
    snapshot.gates[i] = {.in_use = 20 + i,
                         .limit = 30 + i,
                         .ceiling = 40 + i,
                         .policy = "p" + std::to_string(i)};
  }
  executor::GateSnapshot& watched = snapshot.gates[2];
  watched.enforced = false;
  watched.wanted = 44;
  watched.knee = {.limit = 45, .low = 46, .high = 47, .age = nanoseconds(48'500'000'000)};
  watched.decision_counts[1] = 49;
  snapshot.queue = {.tasks = 51, .bytes = 52, .max_tasks = 53, .max_bytes = 54};
  snapshot.memory = {.known = true,
                     .whole = 171,
                     .room = 172,
                     .free = 173,
                     .reserved = 174,
                     .waiting = 175,
                     .overtakes = 176,
                     .measured = 177,
                     .exceeded = 178};
  snapshot.unknown_operations = 57;
  snapshot.streams = {.slots = 61, .opened = 62, .leased = 63, .exhausted = 64};
  snapshot.arena = {
      .threads = 71, .tickets = 72, .intra_op_threads = 73, .raised_global_limit = true};
  snapshot.reloads = {
      .applied = 81, .failed = 82, .last_failed = true, .keys_for_restart = 83};
  executor::OverflowSnapshot& overflow = snapshot.overflow;
  for (std::size_t i = 0; i < overflow.decisions.size(); ++i) overflow.decisions[i] = 130 + i;
  for (std::size_t i = 0; i < overflow.outcomes.size(); ++i) overflow.outcomes[i] = 150 + i;
  overflow.returned = 161;
  overflow.away = 162;
  overflow.measured = policies::OverflowMeasurement{.gain = 1.75};
  overflow.quarantined.resize(3);
  executor::WorkersSnapshot& workers = snapshot.workers;
  workers.states = {91, 92, 93, 94};
  for (std::size_t i = 0; i < workers.exits.size(); ++i) workers.exits[i] = 110 + i;
  workers.starts = 101;
  workers.start_time.counts[17] = 5;
  workers.start_time.sum = nanoseconds(3'500'000'000);
  workers.breaker_open = true;
  workers.calls_queued = 102;
  workers.calls_started = 103;
  workers.calls_requeued = 104;
  workers.calls_retried = 105;
  workers.memory_bytes = 106;
  workers.shared_reserved_bytes = 107;
  workers.shared_used_bytes = 108;
  workers.bytes_sent = 109;
  workers.bytes_received = 120;
  snapshot.graphs = {.replays = 171,
                     .eager = 172,
                     .captures = 173,
                     .failures = 174,
                     .deferred = 175,
                     .evicted = 176,
                     .graphs = 177,
                     .bytes = 178,
                     .max_bytes = 179};
  return snapshot;
}

inline std::string scrape_text(const prometheus::Collectable& collectable) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, collectable.Collect());
  return text.str();
}

inline testing::Scrape scrape(const prometheus::Collectable& collectable) {
  return testing::parse_scrape(scrape_text(collectable));
}

}  // namespace streamgate::metrics

// SPDX-License-Identifier: Apache-2.0
//
// Counts what became of tasks, for snapshots. No exporter and no decision.
#pragma once

#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/stream_pool.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace streamgate::executor {

/// Counters of ended tasks, sharded by stream slot.
///
/// Thread-safety: `ran` belongs to the holder of the slot's lease, so a shard has one writer at a
/// time and counting is a plain load and store, without a read-modify-write; the lease's hand-over
/// orders the writers. `ended_waiting` and `add_to` are thread-safe. Blocking: never.
class Recorder {
 public:
  explicit Recorder(std::size_t slots);

  /// A task ran. REQUIRES: the caller holds the lease on `slot`.
  void ran(StreamIndex slot, std::size_t lane, Outcome outcome, std::chrono::nanoseconds wait,
           std::chrono::nanoseconds run) noexcept;
  /// A task ended without having run.
  void ended_waiting(std::size_t lane, Outcome outcome) noexcept;

  void add_to(Snapshot& snapshot) const noexcept;

 private:
  using Counter = std::atomic<std::uint64_t>;
  struct Histogram {
    std::array<Counter, kDurationBounds + 1> counts{};
    Counter sum{0};
  };
  struct Lane {
    std::array<Counter, kOutcomes> outcomes{};
    Histogram wait;
    Histogram run;
  };
  struct alignas(64) Shard {
    std::array<Lane, policies::kLanes> lanes;
  };
  static void add(Counter& counter, std::uint64_t amount) noexcept;
  static void add(Histogram& histogram, std::chrono::nanoseconds duration) noexcept;

  std::size_t slots_;
  std::unique_ptr<Shard[]> shards_;
  std::array<std::array<Counter, kOutcomes>, policies::kLanes> ended_waiting_{};
};

}  // namespace streamgate::executor

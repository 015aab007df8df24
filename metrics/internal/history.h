// SPDX-License-Identifier: Apache-2.0
//
// The last minutes of one executor, as points in time that follow from its snapshots. It reads no
// clock and no executor: status.h does.
#pragma once

#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/task.h>
#include <streamgate/policies/op_class.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace streamgate::metrics::internal {

/// What was so between the point before and this one.
struct HistoryPoint {
  executor::Clock::time_point end{};
  double queued = 0;        ///< Tasks; the mean of the snapshots, as are the following two.
  double workers_busy = 0;  ///< Worker processes.
  double at_work = 0;       ///< Workers of the arena.
  double ok_per_s = 0;
  double refused_per_s = 0;  ///< Rejected or expired.
  double failed_per_s = 0;   ///< Failed, or a worker died.
  struct Gate {
    double in_use = 0;    ///< The mean of the snapshots.
    double limit = 0;     ///< The mean of the snapshots.
    double ok_per_s = 0;  ///< Of tasks that needed this class, perhaps beside others.
  };
  std::array<Gate, policies::kOpClasses> gates{};
};

/// Of a duration, in the last minute. Nothing where there was none.
struct Quantiles {
  std::optional<double> p50{};  ///< Seconds, interpolated within a bucket of the histogram.
  std::optional<double> p99{};
};

struct HistoryOptions {
  std::chrono::milliseconds every{1000};  ///< Between two points.
  std::size_t kept = 300;                 ///< Points.
  std::chrono::seconds recent{60};        ///< What the quantiles are of.
};

/// Externally synchronised. Owns its points, of which there is a bounded number. Never blocks.
///
///     history.add(now, executor.snapshot());
///     for (const HistoryPoint& point : history.points()) draw(point);
class History {
 public:
  explicit History(const HistoryOptions& options = {}) : options_(options) {}

  /// REQUIRES: `now` is not before that of the last call. Counters that went back are of another
  /// executor under the same name: then the history begins anew.
  void add(executor::Clock::time_point now, const executor::Snapshot& snapshot);

  /// The oldest first.
  [[nodiscard]] const std::deque<HistoryPoint>& points() const noexcept { return points_; }
  [[nodiscard]] Quantiles recent_wait() const { return recent(&Totals::wait); }
  [[nodiscard]] Quantiles recent_run() const { return recent(&Totals::run); }

 private:
  using Counts = std::array<std::uint64_t, executor::kDurationBounds + 1>;
  /// Counters at the end of a point.
  struct Totals {
    executor::Clock::time_point time{};
    std::uint64_t ok = 0;
    std::uint64_t refused = 0;
    std::uint64_t failed = 0;
    std::array<std::uint64_t, policies::kOpClasses> ok_by_class{};
    Counts wait{};
    Counts run{};
  };
  [[nodiscard]] static Totals totals_of(executor::Clock::time_point now,
                                        const executor::Snapshot& snapshot);
  [[nodiscard]] Quantiles recent(Counts Totals::*counts) const;

  const HistoryOptions options_;
  std::deque<HistoryPoint> points_;
  std::deque<Totals> totals_;  ///< One more than points: the first is where the oldest began.
  HistoryPoint sum_;           ///< Of the snapshots since the last point.
  std::size_t summed_ = 0;
};

}  // namespace streamgate::metrics::internal

// SPDX-License-Identifier: Apache-2.0
//
// What `streamgate bench` has measured, as plain values. How it is measured is measure.h's, how it
// is shown render.h's.
#pragma once

#include <streamgate/executor/snapshot.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::tools {

/// Over the rounds. The quartiles are the nearest ranks.
struct Spread {
  double median = 0;
  double low = 0;   ///< Lower quartile.
  double high = 0;  ///< Upper quartile.
};
/// REQUIRES: not empty.
[[nodiscard]] Spread spread_of(std::vector<double> values);
/// One as a multiple of the other, round by round, so that what else the machine does in a round
/// falls on both. REQUIRES: as many of each, not empty.
[[nodiscard]] Spread ratio_of(const std::vector<double>& of, const std::vector<double>& over);

/// One way of serving the model: good requests a second, round by round.
struct Series {
  std::vector<double> per_second{};
};

/// The model at a width that was set by hand.
struct BenchPoint {
  std::size_t intra_op_threads = 1;
  std::size_t width = 1;
  Series series{};
};

/// Everything that was measured with one number of client threads.
struct BenchRun {
  std::size_t clients = 0;
  std::vector<BenchPoint> curve{};  ///< By intra-op threads, then by width.
  std::size_t best = 0;             ///< Index in the curve of the highest median.
  std::size_t knee = 0;             ///< And of the smallest width, as split, that is near it.
  // What is compared, in rounds of their own after those of the curve: of many widths that do
  // alike, the one with the highest median owes that to chance as well, so it is measured again.
  Series best_again{};
  Series adaptive{};
  Series plain{};  ///< Each client calls the model, with libtorch's defaults.
  Series mutex{};  ///< The same, one at a time.
  /// Requests a second in each slice of the time from a cold start on, before the rounds.
  std::vector<double> cold_start{};
  double cold_slice_seconds = 0;
  executor::GateSnapshot gate{};              ///< Where the adaptive run stood at the end,
  std::size_t adaptive_intra_op_threads = 0;  ///< and with how many threads within a task.
};

struct BenchReport {
  std::string model{};
  std::string backend{};
  std::string libtorch{};
  std::string device{};
  std::size_t cores = 0;
  std::size_t rounds = 0;
  double seconds = 0;  ///< Of a turn.
  std::vector<BenchRun> runs{};
};

/// Where the adaptive run was at 90 % of what it later reached, and stayed, on its mean over two
/// slices; nothing: not before the rounds.
[[nodiscard]] std::optional<double> settled_seconds(const BenchRun& run);

/// The share of the best width's throughput that an adaptive limit is to reach.
inline constexpr double kGoalOfBest = 0.97;
/// From when on the cold start had that share of the best width's median, when measured again: in
/// that slice, and in the median of it and all later ones; nothing: not before the rounds. The best
/// is measured later, so it falls on this what else the machine does.
[[nodiscard]] std::optional<double> cold_seconds_to_best(const BenchRun& run);

}  // namespace streamgate::tools

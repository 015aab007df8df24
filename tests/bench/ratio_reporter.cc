// SPDX-License-Identifier: Apache-2.0
//
// The table of ratios. Goals are those of the issue that asked for the executor; a missed one is
// printed as such and fails nothing, since speed is judged by people, on a quiet machine.
#include "ratio_reporter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace streamgate::bench {
namespace {

struct Figure {
  double median = std::numeric_limits<double>::quiet_NaN();
  double spread = 0;  ///< Half the distance of the quartiles, relative to the median.
};

Figure figure_of(std::vector<double> times) {
  if (times.empty()) return {};
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1) + 0.5)];
  };
  return {.median = at(0.5), .spread = (at(0.75) - at(0.25)) / 2 / at(0.5)};
}

void row(const char* what, double value, const char* unit, const char* goal, bool reached,
         double spread) {
  if (std::isnan(value)) return;  // A filter left it, or its baseline, out.
  std::printf("%-64s %9.2f %-3s %-12s %-7s +-%.0f %%\n", what, value, unit, goal,
              reached ? "reached" : "MISSED", spread * 100);
}

}  // namespace

void RatioReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration) continue;
    times_[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
    if (run.threads > 1) {
      // Of many threads on few cores the wall clock shows how they share those; what an operation
      // costs among them is its processor time.
      times_["crowded_" + run.run_name.function_name].push_back(run.GetAdjustedCPUTime());
      times_[run.run_name.function_name].pop_back();
    }
  }
  ConsoleReporter::ReportRuns(runs);
}

void RatioReporter::Finalize() {
  ConsoleReporter::Finalize();
  const auto of = [&](const std::string& name) { return figure_of(times_[name]); };
  const auto faster = [&](const char* a, const char* b) {
    return of(a).median < of(b).median ? of(a) : of(b);
  };
  std::printf("\nmedians of one run, interleaved; spread: half the distance of our quartiles\n");
  {
    const Figure ours = of("batch_streamgate");
    const double ratio = faster("batch_tbb", "batch_asio").median / ours.median;
    row("submit to future, batches of 1000, against the faster baseline", ratio, "x", ">= 2",
        ratio >= 2, ours.spread);
  }
  {
    const Figure ours = of("trip_streamgate");
    const double ratio = ours.median / faster("trip_tbb", "trip_asio").median;
    row("round trip of one closure, against the faster baseline", ratio, "x", "<= 1.1",
        ratio <= 1.1, ours.spread);
  }
  {
    const Figure ours = of("run_streamgate");
    const double more = ours.median - of("run_directly").median;
    row("run of one closure, above calling it", more, "ns", "<= 400", more <= 400, ours.spread);
  }
  const Figure alone = of("admission");
  row("permit: acquire and release, alone", alone.median, "ns", "<= 150", alone.median <= 150,
      alone.spread);
  const Figure crowded = of("crowded_admission");
  row("permit: acquire and release among 32 threads, processor time", crowded.median, "ns",
      "<= 1000", crowded.median <= 1000, crowded.spread);
  {
    const Figure ours = of("batch_streamgate_scraped");
    const double more = (ours.median / of("batch_streamgate").median - 1) * 100;
    row("metrics scraped 10 times a second against not at all", more, "%", "< 3", more < 3,
        ours.spread);
  }
}

}  // namespace streamgate::bench

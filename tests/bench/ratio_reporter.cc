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
    for (const auto& [name, counter] : run.counters) {
      counters_[run.run_name.function_name + "." + name].push_back(counter.value);
    }
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
  report_workers();
}

void RatioReporter::report_workers() {
  const auto of = [&](const std::string& name) { return figure_of(times_[name]); };
  const auto times = [&](const char* what, const Figure& ours, const Figure& baseline,
                         const char* goal, double at_most) {
    const double ratio = ours.median / baseline.median;
    row(what, ratio, "x", goal, ratio <= at_most, ours.spread);
  };
  times("small call in a worker, against a bare futex's round trip", of("worker_small_call"),
        of("worker_futex_ping_pong"), "<= 2", 2);
  times("64 MiB to a worker and back, against one memcpy of it", of("worker_call_64_mib"),
        of("worker_memcpy_64_mib"), "<= 1.2", 1.2);
  const Figure in_place = of("worker_call_64_mib_in_place");
  const double transfer = (in_place.median - of("worker_small_call").median) / 1e3;
  row("64 MiB built in shared memory, to a worker and back", in_place.median / 1e3, "us", "", true,
      in_place.spread);
  row("of that, beyond what a small call takes", transfer, "us", "< 100", transfer < 100,
      in_place.spread);
  const auto models = [&](const char* what, const std::string& rows, const char* goal,
                          double at_least) {
    Figure best = of("model_here_1" + rows);
    for (const char* other : {"model_here_2", "model_here_4"}) {
      if (!(of(other + rows).median >= best.median)) best = of(other + rows);
    }
    const Figure model = of("model_in_2_workers" + rows);
    const double ratio = best.median / model.median;
    row(what, ratio, "x", goal, ratio >= at_least, model.spread);
  };
  models("a model in 2 workers, against here at its best width", "", ">= 0.95", 0.95);
  models("the same on few rows, each process with its own weights", "_few_rows", "", 0);
  const Figure device = of("device_with_8_workers");
  const double gain = of("device_here").median / device.median;
  row("emulated device of width 2 with 8 workers, against alone", gain, "x", "near 5", gain >= 4.5,
      device.spread);
  const auto counter = [&](const char* name) {
    return figure_of(counters_[std::string("worker_recovery.") + name]);
  };
  times("kill -9 of one of 4 workers: back as before, in times of a start", of("worker_recovery"),
        {.median = counter("start_s").median * 1e9}, "<= 1.2", 1.2);
  times("p99 of the other workers' tasks meanwhile, against before", counter("p99_meanwhile_ms"),
        counter("p99_before_ms"), "<= 1.1", 1.1);
  double lost = std::numeric_limits<double>::quiet_NaN();
  for (const double each : counters_["worker_recovery.lost"]) {
    lost = std::isnan(lost) ? each : lost + each;
  }
  row("calls lost to that, in all repetitions", lost, "", "0", lost == 0, 0);
}

}  // namespace streamgate::bench

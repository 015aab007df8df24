// SPDX-License-Identifier: Apache-2.0
//
// Runs the benchmarks in random turns, so that what else the machine does hits all alike.
#include <benchmark/benchmark.h>
#include <streamgate/executor.h>

#include <vector>

#include "ratio_reporter.h"

int main(int argc, char** argv) {
  // The benchmarks of workers start this program as theirs.
  if (const auto code = streamgate::serve_as_worker(argc, argv)) return *code;
  // Defaults of ours, which the command line may override.
  char interleave[] = "--benchmark_enable_random_interleaving=true";
  char repetitions[] = "--benchmark_repetitions=9";
  char aggregates[] = "--benchmark_report_aggregates_only=false";
  std::vector<char*> arguments = {argv[0], interleave, repetitions, aggregates};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  streamgate::bench::RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
}

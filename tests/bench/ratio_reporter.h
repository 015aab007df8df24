// SPDX-License-Identifier: Apache-2.0
//
// Puts each of our figures beside its baseline from the same run. It measures nothing itself.
#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

namespace streamgate::bench {

/// The usual console output, and at the end a table of ratios with their goals.
class RatioReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

 private:
  void report_workers();

  /// Times of single repetitions in nanoseconds, by benchmark.
  std::map<std::string, std::vector<double>> times_;
  /// Counters, by benchmark and name with a dot between.
  std::map<std::string, std::vector<double>> counters_;
};

}  // namespace streamgate::bench

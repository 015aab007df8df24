// SPDX-License-Identifier: Apache-2.0
//
// Prints the table of docs/limit_policies.md: every limit policy on the random plants with which
// none was tuned; or only those that are named.
#include <streamgate/policies/limit_policy.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "plants.h"

namespace {

using namespace streamgate::simulation_test;

/// Not to be read as a number: on too many plants it never happened.
std::string windows(double value) {
  return value < 1e5 ? std::to_string(static_cast<long>(value)) : "never";
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string_view> names(argv + 1, argv + argc);
  if (names.empty()) {
    names.assign(streamgate::policies::kLimitPolicyNames.begin(),
                 streamgate::policies::kLimitPolicyNames.end());
  }
  std::puts(
      "| policy | throughput, median | 5th percentile | latency, median | 95th percentile | windows "
      "from limit 1, median | 95th percentile | after a step, median | 95th percentile | knee in "
      "interval |\n|---|---|---|---|---|---|---|---|---|---|");
  for (const std::string_view name : names) {
    std::vector<Score> scores;
    for (std::uint64_t seed = kReportSeeds.first; seed < kReportSeeds.end; ++seed) {
      scores.push_back(
          play(draw_plant(seed), [&](streamgate::policies::LimitPolicyOptions options) {
            options.name = name;
            return streamgate::policies::make_limit_policy(options);
          }));
    }
    const Summary of = summarise(scores);
    std::printf("| `%s` | %.3f | %.3f | %.3gx | %.3gx | %s | %s | %s | %s | %s |\n",
                std::string(name).c_str(), of.throughput_median, of.throughput_p05,
                of.latency_median, of.latency_p95, windows(of.start_windows_median).c_str(),
                windows(of.start_windows_p95).c_str(), windows(of.step_windows_median).c_str(),
                windows(of.step_windows_p95).c_str(),
                of.knee_coverage ? std::to_string(static_cast<int>(*of.knee_coverage * 100 + 0.5))
                                       .append(" %")
                                       .c_str()
                                 : "-");
    std::fflush(stdout);
  }
  return 0;
}

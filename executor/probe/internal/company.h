// SPDX-License-Identifier: Apache-2.0
//
// How much a process does alone and how much with others beside it, which share device and cores
// with it: what overflow to workers brings. It measures; what for is the probe's business.
#pragma once

#include <streamgate/executor/probe/stage.h>
#include <streamgate/executor/probe/trial_runner.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace streamgate::executor::probe::internal {

/// As in ChildRunnerOptions.
struct CompanyOptions {
  std::string program{};
  std::vector<std::string> arguments{};
  const std::atomic<bool>* stop = nullptr;
  std::chrono::milliseconds start_within{60'000};
};

/// The first process runs all the time. It is counted alone, then with the others, then alone
/// again, so that a machine that gets slower meanwhile is no loss of the others. A process that
/// dies or cannot run is named in `failure`. Blocks while all start, and for about five windows.
/// Throws ProbeInterrupted, and ProbeError when no process can be started.
[[nodiscard]] CompanyResult in_company(const CompanyOptions& options, const Stage& first,
                                       const Stage& others, std::size_t count,
                                       std::chrono::milliseconds window);

}  // namespace streamgate::executor::probe::internal

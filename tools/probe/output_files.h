// SPDX-License-Identifier: Apache-2.0
//
// The files that the probe writes, and whether they can be written, which is asked before a minute
// was spent on measuring. What a limits file holds is policies' business.
#pragma once

#include <streamgate/executor/probe/probe.h>
#include <streamgate/executor/probe/workload.h>

#include <filesystem>
#include <string>

namespace streamgate::tools {

/// Throws std::runtime_error that names the path and the remedy unless a file can be written there
/// as policies::save_limits does: beside it, and then renamed. Leaves nothing behind.
void check_writable(const std::filesystem::path& file);

/// Makes the folder where there is none; throws std::runtime_error when it cannot be written to.
void check_folder(const std::filesystem::path& folder);

/// Writes the program that shows the failure with the fewest threads, and returns what was written,
/// or why nothing was, in words for people.
[[nodiscard]] std::string write_reproducer(const executor::probe::WorkloadOptions& workload,
                                           const executor::probe::ProbeReport& report,
                                           const std::filesystem::path& folder);

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// How much of the machine's cores this process may have.
#pragma once

#include <filesystem>
#include <optional>

#include "doctor/report.h"

namespace streamgate::tools {

[[nodiscard]] MachineFacts find_machine();

/// The cores that the control groups of this process (version 1 or 2) and those above them leave
/// it: quota over period, the least of them; none when none sets one. `root` stands for "/".
[[nodiscard]] std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

}  // namespace streamgate::tools

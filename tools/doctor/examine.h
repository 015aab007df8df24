// SPDX-License-Identifier: Apache-2.0
//
// Gathers the facts of this process and machine. Judges nothing; that is diagnose.h.
#pragma once

#include <filesystem>
#include <optional>

#include "doctor/report.h"

namespace streamgate::tools {

/// Makes an executor with the config, runs an operation and looks at the loaded libraries: some
/// 0.2 s. Throws nothing that a config, a backend or libtorch is to blame for: that is in the
/// report.
[[nodiscard]] Report examine(const std::optional<std::filesystem::path>& config_file);

}  // namespace streamgate::tools

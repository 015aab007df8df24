// SPDX-License-Identifier: Apache-2.0
//
// From facts to findings. Looks at nothing but the report, so that every finding can be tested.
#pragma once

#include <vector>

#include "commands.h"
#include "doctor/report.h"

namespace streamgate::tools {

/// What is wrong, errors first, each with a remedy.
[[nodiscard]] std::vector<Finding> diagnose(const Report& report);

/// kUnusable with an error among them, else kWarnings with any, else kFine.
[[nodiscard]] ExitCode exit_code_of(const std::vector<Finding>& findings) noexcept;

}  // namespace streamgate::tools

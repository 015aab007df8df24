// SPDX-License-Identifier: Apache-2.0
//
// A report as people read it, and as programs do.
#pragma once

#include <string>
#include <vector>

#include "doctor/report.h"

namespace streamgate::tools {

/// A table of facts, then the findings, then one line of summary.
[[nodiscard]] std::string render_text(const Report& report, const std::vector<Finding>& findings);

/// One JSON object, with the fields of docs/doctor.md, always all of them. Bytes of a path that are
/// not UTF-8 are replaced.
[[nodiscard]] std::string render_json(const Report& report, const std::vector<Finding>& findings);

}  // namespace streamgate::tools

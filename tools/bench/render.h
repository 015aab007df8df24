// SPDX-License-Identifier: Apache-2.0
//
// A bench report as text for people, and as JSON.
#pragma once

#include <string>

#include "bench/report.h"

namespace streamgate::tools {

[[nodiscard]] std::string render_bench_text(const BenchReport& report);
[[nodiscard]] std::string render_bench_json(const BenchReport& report);

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// The course of simulated runs as a chart (SVG). It holds no script and no font, and refers to
// nothing outside itself.
#pragma once

#include <string>
#include <vector>

#include "simulate/played.h"

namespace streamgate::tools {

/// Limit and in-flight (left) and throughput (right) over time, one panel for each run, all with
/// the same scales, so that runs can be compared.
[[nodiscard]] std::string render_simulation_svg(const std::vector<Played>& played);

}  // namespace streamgate::tools

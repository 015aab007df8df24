// SPDX-License-Identifier: Apache-2.0
//
// What was simulated, as people read it and as programs do. The chart is chart.h's.
#pragma once

#include <string>
#include <vector>

#include "simulate/played.h"

namespace streamgate::tools {

/// A table with a line for each policy, and what a policy has decided how often.
[[nodiscard]] std::string render_simulation_text(const std::vector<Played>& played);

/// One run as the JSON object of docs/simulate.md, always with all of its fields.
[[nodiscard]] std::string render_simulation_json(const Played& played);

/// {"policies": [...]}, an object as of one run for each.
[[nodiscard]] std::string render_simulations_json(const std::vector<Played>& played);

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// What is said of many values of a run in a few: the times of its requests, and when its limit had
// settled. It keeps nothing.
#pragma once

#include <streamgate/executor/simulation/simulation.h>

#include <optional>
#include <vector>

namespace streamgate::executor::simulation {

/// Mean and quantiles (nearest rank). Puts the values into another order.
[[nodiscard]] Times times_of(std::vector<double>& values);

/// From when on nine in ten points had a limit near the median of the last quarter's: within a
/// quarter of it, or one. Not all of them, as a policy that measures has to try other limits for a
/// while. Nothing: it never settled, or there are fewer than four points.
[[nodiscard]] std::optional<double> settled_since(const std::vector<Sample>& series);

}  // namespace streamgate::executor::simulation

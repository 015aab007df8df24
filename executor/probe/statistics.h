// SPDX-License-Identifier: Apache-2.0
//
// What can be said of a failure probability after so many trials, and where throughput stops
// growing. Pure arithmetic.
#pragma once

#include <streamgate/policies/limits_file.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace streamgate::executor::probe {

/// The upper bound of the failure probability of one trial, at that confidence, after `failures`
/// in `trials`: the largest p with which so few failures still happen with a probability of
/// 1 - confidence (the one-sided bound of Clopper and Pearson). With no failure this is
/// 1 - (1 - confidence)^(1 / trials), about 3 / trials at 95 % (facts 1.2). 1 without trials.
/// REQUIRES: 0 < confidence < 1.
[[nodiscard]] double failure_probability_upper(std::uint64_t trials, std::uint64_t failures,
                                               double confidence) noexcept;

/// How many trials without a failure bring that bound down to `upper`.
/// REQUIRES: 0 < upper < 1, 0 < confidence < 1.
[[nodiscard]] std::uint64_t trials_for(double upper, double confidence) noexcept;

/// The smallest width whose throughput is within 5 % of the best, nothing without throughput. The
/// 5 % are ours: they are about what repetitions on an idle machine differ by, and a wider gate
/// that brings less than that costs memory and latency.
[[nodiscard]] std::optional<std::size_t> knee_of(
    const std::vector<policies::Throughput>& throughput) noexcept;

}  // namespace streamgate::executor::probe

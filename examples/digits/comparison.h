// SPDX-License-Identifier: Apache-2.0
//
// What the rounds have shown, as the table and the JSON of the digits program, and whether it will
// do: the accuracy is high enough, and the same in all ways.
#pragma once

#include "idx_dataset.h"
#include "rounds.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

namespace digits {

/// The least share of the test digits that must be right.
inline constexpr double kAccuracyDue = 0.94;

/// The share of the digits with the right answer. kDisagreement is never right.
[[nodiscard]] double accuracy(std::span<const std::int64_t> answers, const Dataset& test);

/// What is wrong with these answers, a sentence each; empty when nothing is. `expected` is what the
/// trained net itself said.
[[nodiscard]] std::vector<std::string> complaints(const std::vector<Series>& all,
                                                  std::span<const std::int64_t> expected,
                                                  const Dataset& test);

/// "12,345 (12,000 to 13,000)": the median and the rounds' extremes.
[[nodiscard]] std::string rate_text(const Spread& spread);
/// "1.23 (1.20 to 1.31)".
[[nodiscard]] std::string ratio_text(const Spread& spread);
[[nodiscard]] nlohmann::ordered_json to_json(const Spread& spread);

/// The three ways, with Streamgate last.
void print_comparison(std::ostream& out, const std::vector<Series>& all, const Dataset& test);
[[nodiscard]] nlohmann::ordered_json comparison_json(const std::vector<Series>& all,
                                                     const Dataset& test);

}  // namespace digits

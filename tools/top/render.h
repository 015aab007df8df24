// SPDX-License-Identifier: Apache-2.0
//
// A service's status as a table for people.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace streamgate::tools {

struct TopView {
  std::size_t width = 100;     ///< Columns; longer lines are cut.
  std::size_t decisions = 10;  ///< At most, of each executor.
};

/// Lines, each ended. What is not as docs/top.md says is shown as "?"; no control character of the
/// status reaches the terminal. Never throws but for want of memory.
[[nodiscard]] std::string render_top(const nlohmann::ordered_json& status, const TopView& view);

/// Whether any executor warns of something.
[[nodiscard]] bool has_warnings(const nlohmann::ordered_json& status);

}  // namespace streamgate::tools

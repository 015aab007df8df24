// SPDX-License-Identifier: Apache-2.0
//
// The names of keys and sections: taken apart, found in the table of keys, and guessed at where
// they are wrong. Nothing here knows a value or a file.
#pragma once

#include <streamgate/policies/internal/config_table.h>

#include <string>
#include <string_view>
#include <vector>

namespace streamgate::policies::internal {

/// "gate.raw" of "gate.raw.limit"; empty without a dot.
[[nodiscard]] std::string_view section_of(std::string_view name);

/// "limit" of "gate.raw.limit".
[[nodiscard]] std::string_view leaf_of(std::string_view name);

/// The inverse of section_of and leaf_of.
[[nodiscard]] std::string joined(std::string_view section, std::string_view leaf);

/// The key of that name; null when there is none.
[[nodiscard]] const ConfigRow* find_row(std::string_view name);

/// What may stand directly under a section, or at the top for an empty one; empty when `section`
/// is none.
[[nodiscard]] std::vector<std::string> children_of(std::string_view section);

/// The same for people: "Known keys of [queue]: max_tasks, ...".
[[nodiscard]] std::string known_in(std::string_view section);

/// The key that was probably meant; empty when none is near.
[[nodiscard]] std::string_view nearest_key(std::string_view name);

/// The section that was probably meant; empty when none is near.
[[nodiscard]] std::string nearest_section(std::string_view name);

}  // namespace streamgate::policies::internal

// SPDX-License-Identifier: Apache-2.0
//
// Op classes as values of TOML keys: one of them, and a pair of two that do not go together. What
// such a pair means is the business of the file that it stands in.
#pragma once

#include <streamgate/policies/internal/toml_reading.h>
#include <streamgate/policies/op_class.h>

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::policies::internal {

using ClassPair = std::pair<OpClass, OpClass>;

/// What a key takes whose value is one class.
[[nodiscard]] Allowed class_word();

/// What a pair takes, for people.
inline constexpr std::string_view kPairAllowed =
    "two different ones of \"raw\", \"kernel\", \"graph\", \"exclusive\"";

/// The two classes of an array such as ["graph", "raw"], which `name` says to people; nothing when
/// they are not two different classes, or among `before` in either order, which is a problem.
[[nodiscard]] std::optional<ClassPair> read_pair(TomlReading& reading, std::string_view name,
                                                 const TomlNode& node,
                                                 const std::vector<ClassPair>& before);

/// The pair as such an array.
[[nodiscard]] std::string print_pair(ClassPair pair);

}  // namespace streamgate::policies::internal

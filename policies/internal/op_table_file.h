// SPDX-License-Identifier: Apache-2.0
//
// The file of an op table: from TOML to rows, each checked by itself and against the others of its
// file. What the rows mean together is op_table.cc's.
#pragma once

#include <streamgate/policies/internal/toml_reading.h>
#include <streamgate/policies/op_table.h>

#include <string_view>
#include <vector>

namespace streamgate::policies::internal {

/// The backends that rows may be for.
inline constexpr std::string_view kTableBackends[] = {"cpu", "cuda", "mps"};

/// The text of the table that is shipped. Made by CMake from op_table.toml.
[[nodiscard]] std::string_view shipped_op_table();

/// A version of libtorch, as "2.9".
[[nodiscard]] Allowed torch_version();

/// An operation's name with its namespace: "aten::add" of "add".
[[nodiscard]] std::string with_namespace(std::string_view operation);

/// The rows of a file, a row of several names once for each. What is wrong is a problem of the
/// reading.
[[nodiscard]] std::vector<OpTableRow> read_op_table(TomlReading& reading);

}  // namespace streamgate::policies::internal

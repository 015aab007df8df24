// SPDX-License-Identifier: Apache-2.0
//
// The value of one key of a TOML file, and what a key takes: shared by the config, fault models and
// limits files, so that all of them refuse in the same words. It knows no file and no key.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace streamgate::policies::internal {

/// The value of a key, in the types of TOML that keys have.
using Value = std::variant<bool, std::int64_t, std::string, double>;

/// The text with its control characters as TOML escapes them: one line, and no NUL.
[[nodiscard]] std::string one_line(std::string_view text);

/// The text as a TOML string of one line.
[[nodiscard]] std::string toml_string(std::string_view text);

/// The value as TOML. ENSURES: it reads back as the same value, to the last bit of a number.
[[nodiscard]] std::string to_toml(const Value& value);

/// What a key takes.
struct Allowed {
  Value like;              ///< Any value of the right type. A key like a double takes integers too.
  std::string_view type;   ///< The type for people, as "an integer".
  std::string_view wrong;  ///< What a value of the right type that is not allowed is, for people.
  std::string text;        ///< The range or the words, for people.
  std::function<bool(const Value&)> holds;  ///< REQUIRES: a value of the type of `like`.
};

[[nodiscard]] Allowed boolean();
/// From min to max, both included.
[[nodiscard]] Allowed integer(std::int64_t min, std::int64_t max);
/// Any string of at most so many bytes that has no control character.
[[nodiscard]] Allowed text_up_to(std::size_t bytes);
/// One of these, letter for letter. REQUIRES: they live as long as the program.
[[nodiscard]] Allowed words(std::vector<std::string_view> words);
/// A finite number for which `holds`, which `text` says to people.
[[nodiscard]] Allowed number(std::string text, std::function<bool(double)> holds);

}  // namespace streamgate::policies::internal

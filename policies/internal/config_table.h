// SPDX-License-Identifier: Apache-2.0
//
// The table of config keys: for each its name, what it takes, and where it lives in Config. All
// that is known about a key is known here, once; reading files and wording errors is config.cc's.
#pragma once

#include <streamgate/policies/config.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace streamgate::policies::internal {

/// The value of a key, in the types of TOML that keys have.
using Value = std::variant<bool, std::int64_t, std::string>;

/// The text with its control characters as TOML escapes them: one line, and no NUL.
[[nodiscard]] std::string one_line(std::string_view text);

/// The text as a TOML string of one line.
[[nodiscard]] std::string toml_string(std::string_view text);

/// The value as TOML.
[[nodiscard]] std::string to_toml(const Value& value);

/// What a key takes.
struct Allowed {
  Value like;              ///< Any value of the right type.
  std::string_view type;   ///< The type for people, as "an integer".
  std::string_view wrong;  ///< What a value of the right type that is not allowed is, for people.
  std::string text;        ///< The range or the words, for people.
  std::function<bool(const Value&)> holds;  ///< REQUIRES: a value of the type of `like`.
};

/// One key.
struct ConfigRow {
  std::string name;           ///< Dotted; the part before the last dot is the section.
  std::string default_value;  ///< As TOML; the field's own default, not a copy.
  Allowed allowed;
  std::string_view unit;
  ReloadClass reload_class;
  std::string_view help;
  std::function<Value(const Config&)> get;
  std::function<void(Config&, const Value&)> set;  ///< REQUIRES: an allowed value.
};

/// Every key, in the order of the file. The table lives as long as the program.
[[nodiscard]] const std::vector<ConfigRow>& config_rows();

}  // namespace streamgate::policies::internal

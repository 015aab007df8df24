// SPDX-License-Identifier: Apache-2.0
//
// The table of config keys: for each its name, what it takes, and where it lives in Config. All
// that is known about a key is known here, once; reading files and wording errors is config.cc's.
#pragma once

#include <streamgate/policies/config.h>
#include <streamgate/policies/internal/value.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::policies::internal {

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

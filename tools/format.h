// SPDX-License-Identifier: Apache-2.0
//
// One line of text by a pattern of printf's, for the tables of all sub-commands.
#pragma once

#include <cstdio>
#include <string>

namespace streamgate::tools {

/// At most 511 bytes; what is longer is cut.
template <typename... Values>
std::string format(const char* pattern, Values... values) {
  char line[512];
  std::snprintf(line, sizeof line, pattern, values...);
  return line;
}

}  // namespace streamgate::tools

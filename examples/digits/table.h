// SPDX-License-Identifier: Apache-2.0
//
// Text for people: numbers as they read them, and tables with aligned columns.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

namespace digits {

/// Rows of text under a heading; the first column is aligned to the left, the others to the right.
/// Externally synchronised. REQUIRES: every row has as many cells as the heading.
class Table {
 public:
  explicit Table(std::vector<std::string> heading);
  void add_row(std::vector<std::string> cells);
  void print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// 12345.6 as "12,346".
[[nodiscard]] std::string grouped(double number);
/// 1.234 as "1.23" for two decimals.
[[nodiscard]] std::string fixed_point(double number, int decimals);

}  // namespace digits

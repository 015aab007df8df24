// SPDX-License-Identifier: Apache-2.0
//
// Reads Prometheus's text format as far as tests ask: the families, and the value of a series by
// its full text. It checks nothing that promtool checks.
#pragma once

#include <cstdlib>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::testing {

struct Scrape {
  std::vector<std::string> families;         ///< Names, in order, as often as they have a TYPE.
  std::map<std::string, std::string> types;  ///< By family.
  std::map<std::string, std::string> help;   ///< By family.
  std::map<std::string, double> series;      ///< By `name{label="value",...}`.
  std::vector<std::string> names;            ///< Of the series, in order, repetitions included.

  [[nodiscard]] double at(const std::string& name) const {
    const auto found = series.find(name);
    if (found == series.end()) throw std::out_of_range("no series " + name);
    return found->second;
  }
  [[nodiscard]] bool has(const std::string& name) const { return series.contains(name); }
  /// How many series start so.
  [[nodiscard]] std::size_t count(std::string_view prefix) const {
    std::size_t found = 0;
    for (const auto& [name, value] : series) found += name.starts_with(prefix) ? 1 : 0;
    return found;
  }
};

inline Scrape parse_scrape(const std::string& text) {
  Scrape scrape;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ") || line.starts_with("# HELP ")) {
      const std::size_t space = line.find(' ', 7);
      const std::string name = line.substr(7, space - 7);
      if (line[2] == 'T') {
        scrape.families.push_back(name);
        scrape.types[name] = line.substr(space + 1);
      } else {
        scrape.help[name] = line.substr(space + 1);
      }
    } else if (!line.empty()) {
      const std::size_t space = line.rfind(' ');
      scrape.names.push_back(line.substr(0, space));
      // strtod knows Prometheus's words for infinity and NaN.
      scrape.series[scrape.names.back()] = std::strtod(line.c_str() + space + 1, nullptr);
    }
  }
  return scrape;
}

}  // namespace streamgate::testing

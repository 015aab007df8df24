// SPDX-License-Identifier: Apache-2.0
//
// Reading, checking, printing and comparing configs, all of it derived from the table of keys in
// internal/config_table.cc: nothing here knows a single key, but for the one rule between two keys.
#include <streamgate/policies/config.h>
#include <streamgate/policies/internal/config_names.h>
#include <streamgate/policies/internal/config_table.h>
#include <streamgate/policies/internal/toml_reading.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::policies {
namespace {

using internal::children_of;
using internal::config_rows;
using internal::ConfigRow;
using internal::find_row;
using internal::joined;
using internal::known_in;
using internal::leaf_of;
using internal::Line;
using internal::nearest_key;
using internal::nearest_section;
using internal::section_of;
using internal::to_toml;
using internal::TomlNode;
using internal::TomlReading;
using internal::Value;

/// Puts the keys of one text into a config.
class Reader {
 public:
  explicit Reader(TomlReading reading) : reading_(std::move(reading)) {}

  Config read() {
    read_table(reading_.root(), "");
    check_limits();
    const std::string problems = reading_.problems();
    if (!problems.empty()) throw ConfigError(problems);
    return std::move(config_);
  }

 private:
  void read_table(const TomlNode& table, const std::string& section) {
    for (const auto& [key, node] : table.entries) {
      const std::string name = joined(section, key);
      const ConfigRow* row = find_row(name);
      const bool is_section = !children_of(name).empty();
      const bool is_table = node.kind == TomlNode::Kind::kTable;

      if (row == nullptr && !is_section) {
        unknown(node.line, name, is_table || node.is_array_of_tables());
      } else if (is_section && is_table) {
        read_table(node, name);
      } else if (row == nullptr) {
        if (reading_.is_broken(node)) continue;
        reading_.error(node.line, name + " is a section, not a value; " + known_in(name));
      } else if (!reading_.reported_broken(name, node, row->allowed.text)) {
        line_of_[name] = node.line;
        if (const std::optional<Value> value = reading_.value(name, node, row->allowed)) {
          row->set(config_, *value);
        }
      }
    }
  }

  void unknown(Line line, const std::string& name, bool is_table) {
    std::string text;
    if (is_table) {
      const std::string nearest = nearest_section(name);
      text = "[" + name + "] is not a known section" +
             (nearest.empty() ? "" : "; did you mean [" + nearest + "]?");
    } else {
      const std::string nearest(nearest_key(name));
      text =
          name + " is not a known key" + (nearest.empty() ? "" : "; did you mean " + nearest + "?");
    }
    if (text.back() != '?') text += '.';
    reading_.error(line, text + " " + known_in(section_of(name)));
  }

  void check_limits() {
    for (const OpClass op_class : kAllOpClasses) {
      const GateConfig& gate = config_.gates[index_of(op_class)];
      if (gate.limit == 0 || gate.ceiling == 0 || gate.limit <= gate.ceiling) continue;
      const std::string section = "gate." + std::string(to_string(op_class));
      reading_.error(std::max(line_of_[section + ".limit"], line_of_[section + ".ceiling"]),
                     section + ".limit = " + std::to_string(gate.limit) + " is above " + section +
                         ".ceiling = " + std::to_string(gate.ceiling) +
                         "; allowed: at most the ceiling, or 0 for either");
    }
  }

  TomlReading reading_;
  std::map<std::string, Line, std::less<>> line_of_;  ///< Of each key that is there.
  Config config_;
};

}  // namespace

std::string_view to_string(ReloadClass reload_class) noexcept {
  switch (reload_class) {
    case ReloadClass::kLive:
      return "live";
    case ReloadClass::kNewTasks:
      return "new tasks";
    case ReloadClass::kRestart:
      break;
  }
  return "restart";
}

std::string_view to_string(ShowStatus status) noexcept {
  return status == ShowStatus::kLoopback ? "loopback"
         : status == ShowStatus::kAlways ? "always"
                                         : "never";
}

std::string_view to_string(WhenFull when_full) noexcept {
  return when_full == WhenFull::kReject ? "reject" : "shed_lowest";
}

const std::vector<ConfigKey>& config_keys() {
  // Never destroyed, as the rows that it points into.
  static const auto& keys = *[] {
    auto* all = new std::vector<ConfigKey>;
    for (const ConfigRow& row : config_rows()) {
      all->push_back({.name = row.name,
                      .default_value = row.default_value,
                      .allowed = row.allowed.text,
                      .unit = row.unit,
                      .reload_class = row.reload_class,
                      .help = row.help});
    }
    return all;
  }();
  return keys;
}

Config load_config(const std::filesystem::path& file) {
  return Reader(TomlReading::of_file(file)).read();
}

Config parse_config(std::string_view toml, std::string_view source) {
  return Reader(TomlReading(toml, source)).read();
}

std::string print_config(const Config& config) {
  std::string text = "# The configuration of Streamgate. Every key is optional.\n";
  std::string_view section;
  for (const ConfigRow& row : config_rows()) {
    if (section != section_of(row.name)) {
      section = section_of(row.name);
      text += "\n[" + std::string(section) + "]\n";
    }
    text += "\n# " + std::string(row.help) + "\n# Allowed: " + row.allowed.text;
    if (!row.unit.empty()) text += "; unit: " + std::string(row.unit);
    text += "; default: " + row.default_value;
    text += "; reload: " + std::string(to_string(row.reload_class)) + "\n";
    text += std::string(leaf_of(row.name)) + " = " + to_toml(row.get(config)) + "\n";
  }
  return text;
}

std::vector<std::string_view> changed_keys(const Config& a, const Config& b) {
  std::vector<std::string_view> names;
  for (const ConfigRow& row : config_rows()) {
    if (row.get(a) != row.get(b)) names.push_back(row.name);
  }
  return names;
}

}  // namespace streamgate::policies

// SPDX-License-Identifier: Apache-2.0
//
// Reading, checking, printing and comparing configs, all of it derived from the table of keys in
// internal/config_table.cc: nothing here knows a single key, but for the one rule between two keys.
// The only file of this folder that sees toml++.
#include <streamgate/policies/config.h>
#include <streamgate/policies/internal/config_names.h>
#include <streamgate/policies/internal/config_table.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
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
using internal::nearest_key;
using internal::nearest_section;
using internal::one_line;
using internal::section_of;
using internal::to_toml;
using internal::toml_string;
using internal::Value;

using Line = std::uint32_t;  // As toml++ counts them: from 1.

// A config with every key and its comments has 4 KB and 70 dots. toml++ 3.3 and 3.4 recurse once
// for each dot of a key: 30,000 of them overflow a stack of 8 MB, 2,000 fit one of 512 KB.
constexpr std::size_t kMaxBytes = std::size_t{64} << 10;
constexpr std::ptrdiff_t kMaxDots = 2'000;

// Each line that is not TOML costs two more passes over the text.
constexpr std::size_t kMaxBrokenLines = 20;

// ---- TOML's nodes ----

/// A key as TOML takes it: bare where it may be, else quoted.
std::string key_text(std::string_view key) {
  constexpr std::string_view kBare =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  const bool bare = !key.empty() && key.find_first_not_of(kBare) == key.npos;
  return bare ? std::string(key) : toml_string(key);
}

std::optional<Value> value_of(const toml::node& node) {
  if (const auto* boolean = node.as_boolean()) return boolean->get();
  if (const auto* integer = node.as_integer()) return integer->get();
  if (const auto* text = node.as_string()) return text->get();
  return std::nullopt;
}

std::string_view type_of(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  if (node.is_string()) return "a string";
  if (node.is_integer()) return "an integer";
  if (node.is_floating_point()) return "a float";
  if (node.is_boolean()) return "a boolean";
  return "a date or time";
}

/// "= 1.5 is a float": a value of a type that its key does not take.
std::string what_it_is(const toml::node& node) {
  std::ostringstream text;
  if (const std::optional<Value> value = value_of(node)) text << "= " << to_toml(*value) << ' ';
  if (const auto* number = node.as_floating_point()) text << "= " << *number << ' ';
  text << "is " << type_of(node);
  return text.str();
}

// ---- Reading ----

/// Reads one text, and goes on past what is wrong in it so as to report everything at once.
class Reader {
 public:
  Reader(std::string_view toml, std::string_view source) : source_(source) {
    if (toml.size() > kMaxBytes) {
      throw ConfigError(source_ + ": is larger than " + std::to_string(kMaxBytes) + " bytes");
    }
    if (std::count(toml.begin(), toml.end(), '.') > kMaxDots) {
      throw ConfigError(source_ + ": has more than " + std::to_string(kMaxDots) + " dots");
    }
    std::istringstream text{std::string(toml)};
    for (std::string line; std::getline(text, line);) lines_.push_back(std::move(line));
    lines_.emplace_back();  // toml++ may place an error after the last line end.
  }

  Config read() {
    read_table(parse(), "");
    for (const auto& [line, broken] : broken_) {
      if (!broken.reported) error(line, "is not TOML: " + broken.reason);
    }
    check_limits();
    if (errors_.empty()) return std::move(config_);

    std::string what;
    for (const auto& [line, text] : errors_) {
      what += (what.empty() ? "" : "\n") + source_ + ":" + std::to_string(line) + ": " + text;
    }
    throw ConfigError(what);
  }

 private:
  /// A line that is not TOML, and was mended for the sake of the others.
  struct Broken {
    std::string reason;
    std::string value;  ///< What stood behind "=".
    bool blank = false;
    bool reported = false;
  };

  void error(Line line, std::string_view text) { errors_.emplace(line, one_line(text)); }

  /// toml++ stops at the first thing that is not TOML. So that line is noted and mended, first by
  /// another value, then by none. Where that does not help, and at a header, which says where the
  /// next keys belong, it and all after it are cut off.
  toml::table parse() {
    bool cut = false;
    for (;;) {
      std::string text;
      for (const std::string& line : lines_) text += line + "\n";
      try {
        return toml::parse(text);
      } catch (const toml::parse_error& wrong) {
        if (cut) return {};  // The cut went through a value of several lines.
        cut = !mend(wrong);
      }
    }
  }

  /// Whether there is a new text to try with all lines still in it.
  bool mend(const toml::parse_error& wrong) {
    const std::size_t at = std::clamp<std::size_t>(wrong.source().begin.line, 1, lines_.size()) - 1;
    std::string& text = lines_[at];
    const std::size_t first = text.find_first_not_of(" \t");
    const bool is_header = first != text.npos && text[first] == '[';
    const std::size_t equals = is_header ? text.npos : text.find('=');
    const auto [found, is_new] = broken_.try_emplace(static_cast<Line>(at + 1));
    Broken& broken = found->second;
    if (is_new) {
      broken.reason = wrong.description();
      if (equals != text.npos && broken_.size() < kMaxBrokenLines) {
        const std::size_t begin = std::min(text.find_first_not_of(" \t", equals + 1), text.size());
        const std::size_t end = text.find_last_not_of(" \t\r") + 1;
        broken.value = text.substr(begin, std::max(begin, end) - begin);
        text.replace(equals, text.npos, "= 0");
        return true;
      }
    } else if (!broken.blank) {
      broken.blank = true;
      text.clear();
      return true;
    }
    lines_.resize(at);
    return false;
  }

  void read_table(const toml::table& table, const std::string& section) {
    for (auto&& [key, node] : table) {
      const std::string name = joined(section, key_text(key.str()));
      const Line line = key.source().begin.line;
      const ConfigRow* row = find_row(name);
      const bool is_section = !children_of(name).empty();
      const auto broken = broken_.find(line);

      if (row == nullptr && !is_section) {
        unknown(line, name, node.is_table() || node.is_array_of_tables());
      } else if (is_section && node.is_table()) {
        read_table(*node.as_table(), name);
      } else if (broken == broken_.end()) {
        if (row != nullptr) {
          read_value(line, *row, node);
        } else {
          error(line, name + " is a section, not a value; " + known_in(name));
        }
      } else if (row != nullptr) {
        error(line, name + " = " + broken->second.value + " is not TOML: " + broken->second.reason +
                        "; allowed: " + row->allowed.text);
        broken->second.reported = true;
      }
    }
  }

  void read_value(Line line, const ConfigRow& row, const toml::node& node) {
    line_of_[row.name] = line;
    const std::optional<Value> value = value_of(node);
    if (!value || value->index() != row.allowed.like.index()) {
      error(line, row.name + " " + what_it_is(node) + ", not " + std::string(row.allowed.type) +
                      "; allowed: " + row.allowed.text);
    } else if (!row.allowed.holds(*value)) {
      error(line, row.name + " = " + to_toml(*value) + " " + std::string(row.allowed.wrong) +
                      "; allowed: " + row.allowed.text);
    } else {
      row.set(config_, *value);
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
    error(line, text + " " + known_in(section_of(name)));
  }

  void check_limits() {
    for (const OpClass op_class : kAllOpClasses) {
      const GateConfig& gate = config_.gates[index_of(op_class)];
      if (gate.limit == 0 || gate.ceiling == 0 || gate.limit <= gate.ceiling) continue;
      const std::string section = "gate." + std::string(to_string(op_class));
      error(std::max(line_of_[section + ".limit"], line_of_[section + ".ceiling"]),
            section + ".limit = " + std::to_string(gate.limit) + " is above " + section +
                ".ceiling = " + std::to_string(gate.ceiling) +
                "; allowed: at most the ceiling, or 0 for either");
    }
  }

  std::string source_;
  std::vector<std::string> lines_;
  std::map<Line, Broken> broken_;
  std::multimap<Line, std::string> errors_;
  std::map<std::string, Line, std::less<>> line_of_;  ///< Of each key that is there.
  Config config_;
};

/// The bytes of a file, at most one more than a config may have. Throws ConfigError.
std::string contents_of(const std::filesystem::path& file) {
  const auto fail = [&file]() {
    throw ConfigError(file.string() + ": cannot be read: " +
                      std::error_code(errno, std::generic_category()).message());
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "rb"),
                                                               &std::fclose);
  if (!stream) fail();
  std::string text(kMaxBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), stream.get()));
  if (std::ferror(stream.get()) != 0) fail();
  return text;
}

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
  return parse_config(contents_of(file), file.string());
}

Config parse_config(std::string_view toml, std::string_view source) {
  return Reader(toml, source).read();
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

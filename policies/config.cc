// SPDX-License-Identifier: Apache-2.0
//
// Reading, checking, printing and comparing configs, all of it derived from the table of keys in
// internal/config_table.cc: nothing here knows a single key, but for the one rule between two keys.
// The only file of this folder that sees toml++.
#include <streamgate/policies/config.h>
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
#include <numeric>
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

using internal::config_rows;
using internal::ConfigRow;
using internal::to_toml;
using internal::toml_string;
using internal::Value;

using Line = std::uint32_t;  // As toml++ counts them: from 1.

// A config with every key and its comments has 5 KB and 100 dots. toml++ 3.3 and 3.4 recurse once
// for each dot of a key, and 30,000 of them overflow the stack.
constexpr std::size_t kMaxBytes = std::size_t{64} << 10;
constexpr std::ptrdiff_t kMaxDots = 2'000;

// Each line that is not TOML costs two more passes over the text.
constexpr std::size_t kMaxBrokenLines = 20;

// ---- Names ----

std::string_view section_of(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == name.npos ? std::string_view() : name.substr(0, dot);
}

std::string_view leaf_of(std::string_view name) { return name.substr(name.rfind('.') + 1); }

std::string joined(std::string_view section, std::string_view leaf) {
  return section.empty() ? std::string(leaf) : std::string(section) + "." + std::string(leaf);
}

const ConfigRow* find_row(std::string_view name) {
  for (const ConfigRow& row : config_rows()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

/// What may stand directly under a section, or at the top for an empty one; empty when `section`
/// is none.
std::vector<std::string> children_of(std::string_view section) {
  const std::string prefix = joined(section, "");
  std::vector<std::string> children;
  for (const ConfigRow& row : config_rows()) {
    if (!row.name.starts_with(prefix)) continue;
    std::string child = row.name.substr(prefix.size());
    child.resize(std::min(child.size(), child.find('.')));
    if (children.empty() || children.back() != child) children.push_back(std::move(child));
  }
  return children;
}

std::string known_in(std::string_view section) {
  std::string text = section.empty() ? std::string("Known sections: ")
                                     : "Known keys of [" + std::string(section) + "]: ";
  bool first = true;
  for (const std::string& child : children_of(section)) {
    text += (first ? "" : ", ") + child;
    first = false;
  }
  return text;
}

/// Levenshtein's distance: insertions, removals and replacements from one to the other.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// Whether that many edits are few enough for a slip of the pen in `name`.
bool is_slip(std::size_t distance, std::string_view name) {
  return distance <= std::max<std::size_t>(1, name.size() / 3);
}

/// The key that was probably meant; empty when none is near. A key of another section counts as one
/// edit further away.
std::string_view nearest_key(std::string_view name) {
  std::string_view nearest;
  std::size_t least = SIZE_MAX;
  for (const ConfigRow& row : config_rows()) {
    const std::size_t distance = edits(leaf_of(name), leaf_of(row.name)) +
                                 (section_of(name) == section_of(row.name) ? 0 : 1);
    if (distance < least) {
      least = distance;
      nearest = row.name;
    }
  }
  return is_slip(least, leaf_of(name)) ? nearest : std::string_view();
}

/// The same for a section.
std::string nearest_section(std::string_view name) {
  std::string nearest;
  std::size_t least = SIZE_MAX;
  for (const std::string& child : children_of(section_of(name))) {
    std::string sibling = joined(section_of(name), child);
    if (find_row(sibling) != nullptr) continue;
    const std::size_t distance = edits(name, sibling);
    if (distance < least) {
      least = distance;
      nearest = std::move(sibling);
    }
  }
  return is_slip(least, name) ? nearest : std::string();
}

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

/// "= 1.5 is a float": a value of a type that its key does not take.
std::string what_it_is(const toml::node& node) {
  std::ostringstream text;
  if (const std::optional<Value> value = value_of(node)) text << "= " << to_toml(*value) << ' ';
  if (const auto* number = node.as_floating_point()) text << "= " << *number << ' ';
  switch (node.type()) {
    case toml::node_type::table:
      text << "is a table";
      break;
    case toml::node_type::array:
      text << "is an array";
      break;
    case toml::node_type::string:
      text << "is a string";
      break;
    case toml::node_type::integer:
      text << "is an integer";
      break;
    case toml::node_type::floating_point:
      text << "is a float";
      break;
    case toml::node_type::boolean:
      text << "is a boolean";
      break;
    default:
      text << "is a date or time";
      break;
  }
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

  void error(Line line, std::string text) { errors_.emplace(line, std::move(text)); }

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
      } else if (broken != broken_.end()) {
        if (row != nullptr) {
          error(line, name + " = " + broken->second.value + " is not TOML: " +
                          broken->second.reason + "; allowed: " + row->allowed.text);
          broken->second.reported = true;
        }
      } else if (row != nullptr) {
        read_value(line, *row, node);
      } else if (const toml::table* inner = node.as_table()) {
        read_table(*inner, name);
      } else {
        error(line, name + " is a section, not a value; " + known_in(name));
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
  // Never destroyed, as the rows that it points into. The defaults need a home of their own.
  static const auto& keys = *[] {
    auto* defaults = new std::vector<std::string>;
    for (const ConfigRow& row : config_rows()) defaults->push_back(to_toml(row.get(Config{})));
    auto* all = new std::vector<ConfigKey>;
    for (std::size_t i = 0; i < defaults->size(); ++i) {
      const ConfigRow& row = config_rows()[i];
      all->push_back({.name = row.name,
                      .default_value = (*defaults)[i],
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
  for (std::size_t i = 0; i < config_rows().size(); ++i) {
    const ConfigKey& key = config_keys()[i];
    if (section != section_of(key.name)) {
      section = section_of(key.name);
      text += "\n[" + std::string(section) + "]\n";
    }
    text += "\n# " + std::string(key.help) + "\n# Allowed: " + std::string(key.allowed);
    if (!key.unit.empty()) text += "; unit: " + std::string(key.unit);
    text += "; default: " + std::string(key.default_value);
    text += "; reload: " + std::string(to_string(key.reload_class)) + "\n";
    text += std::string(leaf_of(key.name)) + " = " + to_toml(config_rows()[i].get(config)) + "\n";
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

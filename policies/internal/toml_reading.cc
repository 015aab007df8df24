// SPDX-License-Identifier: Apache-2.0
//
// The only file that sees toml++, whose tree it turns into ours.
#include <streamgate/policies/internal/toml_reading.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <numeric>
#include <sstream>
#include <system_error>
#include <utility>

// toml++ 3.3 and 3.4 assert what a malformed text can break (the first character of a key), and in
// a release let Clang assume it; two lines later they refuse it. Without assertion and assumption it
// is an ordinary parse error in every build.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace streamgate::policies::internal {
namespace {

// A config with every key and its comments has 4 KB and 70 dots. toml++ 3.3 and 3.4 recurse once
// for each dot of a key: 30,000 of them overflow a stack of 8 MB, 2,000 fit one of 512 KB.
constexpr std::size_t kMaxBytes = std::size_t{64} << 10;
constexpr std::ptrdiff_t kMaxDots = 2'000;

// Each line that is not TOML costs two more passes over the text.
constexpr std::size_t kMaxBrokenLines = 20;

// No file of ours nests deeper than half of this, and what is unknown is reported where it begins:
// so what lies deeper is left out, and nothing of ours recurses further.
constexpr unsigned kMaxDepth = 12;

/// A key as TOML takes it.
std::string key_text(std::string_view key) {
  constexpr std::string_view kBare =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  const bool bare = !key.empty() && key.find_first_not_of(kBare) == key.npos;
  return bare ? std::string(key) : toml_string(key);
}

TomlNode node_from(const toml::node& from, Line line, unsigned depth) {
  TomlNode node{.kind = TomlNode::Kind::kValue, .line = line};
  if (const auto* table = from.as_table()) {
    node.kind = TomlNode::Kind::kTable;
    if (depth == kMaxDepth) return node;
    for (auto&& [key, child] : *table) {
      node.entries.push_back({.key = key_text(key.str()),
                              .node = node_from(child, key.source().begin.line, depth + 1)});
    }
  } else if (const auto* array = from.as_array()) {
    node.kind = TomlNode::Kind::kArray;
    if (depth == kMaxDepth) return node;
    for (const toml::node& child : *array) {
      node.elements.push_back(node_from(child, child.source().begin.line, depth + 1));
    }
  } else if (const auto* truth = from.as_boolean()) {
    node.value = truth->get();
  } else if (const auto* whole = from.as_integer()) {
    node.value = whole->get();
  } else if (const auto* text = from.as_string()) {
    node.value = text->get();
  } else if (const auto* real = from.as_floating_point()) {
    node.value = real->get();
  } else {
    node.kind = TomlNode::Kind::kTime;
  }
  return node;
}

std::string_view type_of(const TomlNode& node) {
  switch (node.kind) {
    case TomlNode::Kind::kTable:
      return "a table";
    case TomlNode::Kind::kArray:
      return "an array";
    case TomlNode::Kind::kTime:
      return "a date or time";
    case TomlNode::Kind::kValue:
      break;
  }
  if (std::holds_alternative<std::string>(node.value)) return "a string";
  if (std::holds_alternative<std::int64_t>(node.value)) return "an integer";
  return std::holds_alternative<bool>(node.value) ? "a boolean" : "a float";
}

}  // namespace

bool TomlNode::is_array_of_tables() const noexcept {
  return kind == Kind::kArray && !elements.empty() &&
         std::all_of(elements.begin(), elements.end(),
                     [](const TomlNode& element) { return element.kind == Kind::kTable; });
}

std::string what_it_is(const TomlNode& node) {
  std::string text = node.kind == TomlNode::Kind::kValue ? "= " + to_toml(node.value) + " " : "";
  return text + "is " + std::string(type_of(node));
}

std::size_t edits(std::string_view a, std::string_view b) {
  // Levenshtein's table, one row at a time.
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

bool is_slip(std::size_t distance, std::string_view name) {
  return distance <= std::max<std::size_t>(1, name.size() / 3);
}

// ---- one text ----

TomlReading::TomlReading(std::string_view toml, std::string_view source) : source_(source) {
  if (toml.size() > kMaxBytes) {
    unreadable_ = "is larger than " + std::to_string(kMaxBytes) + " bytes";
  } else if (std::count(toml.begin(), toml.end(), '.') > kMaxDots) {
    unreadable_ = "has more than " + std::to_string(kMaxDots) + " dots";
  } else {
    std::istringstream text{std::string(toml)};
    for (std::string line; std::getline(text, line);) lines_.push_back(std::move(line));
    lines_.emplace_back();  // toml++ may place an error after the last line end.
    parse();
  }
}

TomlReading TomlReading::of_file(const std::filesystem::path& file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "rb"),
                                                               &std::fclose);
  std::string text;
  if (stream) {
    text.resize(kMaxBytes + 1);  // One more than is allowed tells that there is more.
    text.resize(std::fread(text.data(), 1, text.size(), stream.get()));
  }
  if (!stream || std::ferror(stream.get()) != 0) {
    const int reason = errno;
    TomlReading reading("", file.string());
    reading.unreadable_ =
        "cannot be read: " + std::error_code(reason, std::generic_category()).message();
    return reading;
  }
  return TomlReading(text, file.string());
}

/// toml++ stops at the first thing that is not TOML. So that line is noted and mended, first by
/// another value, then by none. Where that does not help, and at a header, which says where the
/// next keys belong, it and all after it are cut off.
void TomlReading::parse() {
  bool cut = false;
  for (;;) {
    std::string text;
    for (const std::string& line : lines_) text += line + "\n";
    try {
      root_ = node_from(toml::parse(text), 1, 0);
      return;
    } catch (const toml::parse_error& wrong) {
      if (cut) return;  // The cut went through a value of several lines.
      cut = !mend(wrong.source().begin.line, wrong.description());
    }
  }
}

/// Whether there is a new text to try with all lines still in it.
bool TomlReading::mend(Line line, std::string_view reason) {
  const std::size_t at = std::clamp<std::size_t>(line, 1, lines_.size()) - 1;
  std::string& text = lines_[at];
  const std::size_t first = text.find_first_not_of(" \t");
  const bool is_header = first != text.npos && text[first] == '[';
  const std::size_t equals = is_header ? text.npos : text.find('=');
  const auto [found, is_new] = broken_.try_emplace(static_cast<Line>(at + 1));
  Broken& broken = found->second;
  if (is_new) {
    broken.reason = reason;
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

void TomlReading::error(Line line, std::string_view text) { errors_.emplace(line, one_line(text)); }

std::optional<Value> TomlReading::value(std::string_view name, const TomlNode& node,
                                        const Allowed& allowed) {
  Value value = node.value;
  if (const std::int64_t* whole = std::get_if<std::int64_t>(&value);
      whole != nullptr && std::holds_alternative<double>(allowed.like)) {
    value = static_cast<double>(*whole);
  }
  if (node.kind != TomlNode::Kind::kValue || value.index() != allowed.like.index()) {
    error(node.line, std::string(name) + " " + what_it_is(node) + ", not " +
                         std::string(allowed.type) + "; allowed: " + allowed.text);
    return std::nullopt;
  }
  if (!allowed.holds(value)) {
    error(node.line, std::string(name) + " = " + to_toml(node.value) + " " +
                         std::string(allowed.wrong) + "; allowed: " + allowed.text);
    return std::nullopt;
  }
  return value;
}

bool TomlReading::reported_broken(std::string_view name, const TomlNode& node,
                                  std::string_view allowed) {
  const auto found = broken_.find(node.line);
  if (found == broken_.end()) return false;
  Broken& broken = found->second;
  error(node.line, std::string(name) + " = " + broken.value + " is not TOML: " + broken.reason +
                       "; allowed: " + std::string(allowed));
  broken.reported = true;
  return true;
}

std::string TomlReading::problems() const {
  if (!unreadable_.empty()) return source_ + ": " + unreadable_;
  std::multimap<Line, std::string> all = errors_;
  for (const auto& [line, broken] : broken_) {
    if (!broken.reported) all.emplace(line, one_line("is not TOML: " + broken.reason));
  }
  std::string what;
  for (const auto& [line, text] : all) {
    what += (what.empty() ? "" : "\n") + source_ + ":" + std::to_string(line) + ": " + text;
  }
  return what;
}

// ---- one table ----

TomlTable::TomlTable(TomlReading& reading, const TomlNode* node, std::string name)
    : reading_(reading), node_(node), name_(std::move(name)) {
  if (node == nullptr || node->kind == TomlNode::Kind::kTable) return;
  node_ = nullptr;
  is_table_ = false;
  if (!reading.is_broken(*node)) {
    reading.error(node->line, name_ + " " + what_it_is(*node) + ", not a table");
  }
}

const TomlNode* TomlTable::find(std::string_view key) const noexcept {
  if (node_ == nullptr) return nullptr;
  for (const TomlEntry& entry : node_->entries) {
    if (entry.key == key) return &entry.node;
  }
  return nullptr;
}

/// From now on the key is known.
const TomlNode* TomlTable::ask_for(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  return find(key);
}

Line TomlTable::line_of(std::string_view key) const noexcept {
  const TomlNode* const node = find(key);
  return node == nullptr ? line() : node->line;
}

std::optional<Value> TomlTable::take(std::string_view key, const Allowed& allowed) {
  const TomlNode* const node = take_node(key, allowed.text);
  return node == nullptr ? std::nullopt : reading_.value(name_of(key), *node, allowed);
}

std::optional<Value> TomlTable::require(std::string_view key, const Allowed& allowed) {
  const TomlNode* const node = require_node(key, allowed.text);
  return node == nullptr ? std::nullopt : reading_.value(name_of(key), *node, allowed);
}

const TomlNode* TomlTable::take_node(std::string_view key, std::string_view allowed) {
  const TomlNode* const node = ask_for(key);
  return node == nullptr || reading_.reported_broken(name_of(key), *node, allowed) ? nullptr : node;
}

const TomlNode* TomlTable::require_node(std::string_view key, std::string_view allowed) {
  const TomlNode* const node = ask_for(key);
  if (node == nullptr) {
    // Of what is no table, that is all there is to say.
    if (is_table_)
      reading_.error(line(), name_of(key) + " is missing; allowed: " + std::string(allowed));
    return nullptr;
  }
  return reading_.reported_broken(name_of(key), *node, allowed) ? nullptr : node;
}

const std::vector<TomlNode>& TomlTable::take_array(std::string_view key, std::string_view allowed) {
  static const auto& none = *new std::vector<TomlNode>;  // Never destroyed, as it may be in use.
  const TomlNode* const node = take_node(key, allowed);
  if (node == nullptr) return none;
  if (node->kind == TomlNode::Kind::kArray) return node->elements;
  reading_.error(node->line, name_of(key) + " " + what_it_is(*node) +
                                 ", not an array; allowed: " + std::string(allowed));
  return none;
}

void TomlTable::report_unknown() {
  if (node_ == nullptr) return;
  std::string all;
  for (const std::string& key : known_) all += (all.empty() ? "" : ", ") + key;
  for (const TomlEntry& entry : node_->entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const auto nearest = std::min_element(known_.begin(), known_.end(),
                                          [&entry](const std::string& a, const std::string& b) {
                                            return edits(entry.key, a) < edits(entry.key, b);
                                          });
    std::string text = name_of(entry.key) + " is not a known key";
    if (nearest != known_.end() && is_slip(edits(entry.key, *nearest), entry.key)) {
      text += "; did you mean " + name_of(*nearest) + "?";
    } else {
      text += ".";
    }
    reading_.error(entry.node.line, text + " Known keys" +
                                        (name_.empty() ? "" : " of [" + name_ + "]") + ": " + all);
  }
}

std::string TomlTable::name_of(std::string_view key) const {
  return name_.empty() ? std::string(key) : name_ + "." + std::string(key);
}

}  // namespace streamgate::policies::internal

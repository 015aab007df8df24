// SPDX-License-Identifier: Apache-2.0
//
// How every TOML file of ours is read: from a file or a text into a tree of plain values with their
// lines, and on past what is wrong, so that everything that is wrong is reported at once. It knows
// no key; toml++ is seen by toml_reading.cc alone.
#pragma once

#include <streamgate/policies/internal/value.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::policies::internal {

using Line = std::uint32_t;  ///< From 1.

struct TomlEntry;

/// A value, an array or a table.
struct TomlNode {
  enum class Kind : std::uint8_t { kValue, kArray, kTable, kTime };
  Kind kind = Kind::kTable;
  Line line = 1;                     ///< Of its key, where it has one.
  Value value{};                     ///< Of kValue.
  std::vector<TomlNode> elements{};  ///< Of kArray.
  std::vector<TomlEntry> entries{};  ///< Of kTable.

  /// An array of nothing but tables, as [[name]] makes them.
  [[nodiscard]] bool is_array_of_tables() const noexcept;
};

struct TomlEntry {
  std::string key;  ///< As TOML takes it: bare where it may be, else quoted.
  TomlNode node;
};

/// "= 1.5 is a float": for a value of a type that its key does not take.
[[nodiscard]] std::string what_it_is(const TomlNode& node);

/// A line that is not TOML, and was mended for the sake of the others.
struct BrokenLine {
  std::string reason;
  std::string value;  ///< What stood behind "=".
};

/// How many edits of one letter make one text of the other.
[[nodiscard]] std::size_t edits(std::string_view a, std::string_view b);
/// Whether that many edits are few enough for a slip of the pen in `name`.
[[nodiscard]] bool is_slip(std::size_t distance, std::string_view name);

/// One text, its tree, and what was found wrong with it so far.
///
/// Thread-safety: externally synchronised. Ownership: of all of it; the nodes live as long.
/// Blocking: only of_file, while it reads. Failure: none; what is wrong is in problems().
/// A text of more than 64 KiB, or with more than 2,000 dots (toml++ recurses on them), has an empty
/// tree, as has one that cannot be mended.
///
///     TomlReading reading = TomlReading::of_file("model.toml");
///     for (const TomlEntry& entry : reading.root().entries) {
///       if (entry.key != "a") reading.error(entry.node.line, entry.key + " is not a known key");
///     }
///     if (const std::string problems = reading.problems(); !problems.empty()) throw
///     Error(problems);
class TomlReading {
 public:
  /// `source` stands for the file's name in problems.
  TomlReading(std::string_view toml, std::string_view source);
  [[nodiscard]] static TomlReading of_file(const std::filesystem::path& file);

  [[nodiscard]] const TomlNode& root() const noexcept { return root_; }

  void error(Line line, std::string_view text);

  /// The entry's value where the key takes it; else nothing, and a problem. An integer where a
  /// double is wanted is one.
  [[nodiscard]] std::optional<Value> value(std::string_view name, const TomlNode& node,
                                           const Allowed& allowed);

  /// Whether the line of the node is not TOML; then the node is no more than a stand-in. Reports it
  /// with what the key takes.
  [[nodiscard]] bool reported_broken(std::string_view name, const TomlNode& node,
                                     std::string_view allowed);
  /// The same without reporting: problems() will, without naming a key.
  [[nodiscard]] bool is_broken(const TomlNode& node) const { return broken_.contains(node.line); }

  /// One line for each thing that is wrong, in the order of the lines: file, line, text. Empty when
  /// nothing is.
  [[nodiscard]] std::string problems() const;

 private:
  struct Broken : BrokenLine {
    bool blank = false;
    bool reported = false;
  };

  void parse();
  [[nodiscard]] bool mend(Line line, std::string_view reason);

  std::string source_;
  std::string unreadable_;  ///< Why there is no text at all.
  std::vector<std::string> lines_;
  TomlNode root_;
  std::map<Line, Broken> broken_;
  std::multimap<Line, std::string> errors_;
};

/// Takes the keys of one table, each by its name; what nobody asked for is unknown.
///
/// Confined to one thread. The reading and the node must outlive it. Never blocks. Failure: a
/// problem of the reading.
///
///     TomlTable device(reading, *node, "device");
///     if (const auto streams = device.take("streams", integer(1, 64))) ...
///     device.report_unknown();
class TomlTable {
 public:
  /// `name` is "" for the whole file. `node` is null for a table that is not there: it is empty.
  /// A node that is no table is a problem.
  TomlTable(TomlReading& reading, const TomlNode* node, std::string name);

  /// The key's value; nothing when it is absent, or wrong, which is a problem.
  [[nodiscard]] std::optional<Value> take(std::string_view key, const Allowed& allowed);
  /// The same, and absence is a problem, too.
  [[nodiscard]] std::optional<Value> require(std::string_view key, const Allowed& allowed);
  /// The node of a key; null when it is absent, or its line is not TOML, which is a problem.
  [[nodiscard]] const TomlNode* take_node(std::string_view key, std::string_view allowed);
  /// The same, and absence is a problem, too.
  [[nodiscard]] const TomlNode* require_node(std::string_view key, std::string_view allowed);
  /// The elements of an array; none when it is absent, or no array, which is a problem.
  [[nodiscard]] const std::vector<TomlNode>& take_array(std::string_view key,
                                                        std::string_view allowed);

  /// To be called last: what is left over is unknown.
  void report_unknown();

  /// Where the table begins.
  [[nodiscard]] Line line() const noexcept { return node_ == nullptr ? 1 : node_->line; }
  /// Where a key stands, or where the table begins when the key is absent.
  [[nodiscard]] Line line_of(std::string_view key) const noexcept;
  /// "device.streams".
  [[nodiscard]] std::string name_of(std::string_view key) const;

 private:
  [[nodiscard]] const TomlNode* find(std::string_view key) const noexcept;
  [[nodiscard]] const TomlNode* ask_for(std::string_view key);

  TomlReading& reading_;
  const TomlNode* node_;
  std::string name_;
  bool is_table_ = true;            ///< Or absent.
  std::vector<std::string> known_;  ///< The keys that were asked for, in order.
};

}  // namespace streamgate::policies::internal

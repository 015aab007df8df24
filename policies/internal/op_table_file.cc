// SPDX-License-Identifier: Apache-2.0
#include <streamgate/policies/internal/class_keys.h>
#include <streamgate/policies/internal/op_table_file.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace streamgate::policies::internal {
namespace {

constexpr std::string_view kClassesAllowed =
    "\"raw\", \"kernel\", \"graph\", \"exclusive\", or an array of these";
constexpr std::string_view kNamesAllowed =
    "names of operations, as \"add\", \"ours::op\", \"ours::op.overload\", \"ours::*\", \"*\"";
constexpr std::string_view kVersionAllowed = "a version of libtorch, as \"2.9\"";
constexpr std::int64_t kMaxMacos = 1'000;

bool is_version(std::string_view text) {
  const std::size_t dot = text.find('.');
  const auto digits = [](std::string_view part) {
    return !part.empty() && part.size() <= 4 &&
           std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  return dot != text.npos && digits(text.substr(0, dot)) && digits(text.substr(dot + 1));
}

bool is_name(std::string_view text) {
  if (text == "*") return true;
  const auto word = [](std::string_view part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '.';
    });
  };
  const std::size_t colons = text.find("::");
  if (colons == text.npos) return word(text);
  const std::string_view rest = text.substr(colons + 2);
  return word(text.substr(0, colons)) && (rest == "*" || word(rest));
}

Allowed name() {
  return {.like = std::string(),
          .type = "a string",
          .wrong = "is not the name of an operation",
          .text = std::string(kNamesAllowed),
          .holds = [](const Value& value) { return is_name(std::get<std::string>(value)); }};
}

std::optional<TorchVersion> take_version(TomlTable& table, std::string_view key) {
  const auto value = table.take(key, torch_version());
  return value ? torch_version_from(std::get<std::string>(*value)) : std::nullopt;
}

std::optional<unsigned> take_macos(TomlTable& table, std::string_view key) {
  const auto value = table.take(key, integer(1, kMaxMacos));
  if (!value) return std::nullopt;
  return static_cast<unsigned>(std::get<std::int64_t>(*value));
}

std::optional<bool> take_condition(TomlTable& table, std::string_view key) {
  const auto value = table.take(key, boolean());
  return value ? std::optional(std::get<bool>(*value)) : std::nullopt;
}

/// One class, or an array of them.
std::optional<OpClassSet> take_classes(TomlReading& reading, TomlTable& table,
                                       std::string_view key) {
  const TomlNode* const node = table.take_node(key, kClassesAllowed);
  if (node == nullptr) return std::nullopt;
  std::optional<OpClassSet> classes;
  const auto add = [&](std::string_view where, const TomlNode& word) {
    const auto value = reading.value(where, word, class_word());
    if (!value) return;
    const OpClassSet named = *op_class_from(std::get<std::string>(*value));
    classes = classes ? *classes | named : named;
  };
  const std::string where = table.name_of(key);
  if (node->kind != TomlNode::Kind::kArray) {
    add(where, *node);
  } else if (node->elements.empty()) {
    reading.error(node->line, where + " is empty; allowed: " + std::string(kClassesAllowed));
  } else {
    for (const TomlNode& word : node->elements) add(where + "[]", word);
  }
  return classes;
}

std::vector<std::string> take_names(TomlReading& reading, TomlTable& table, std::string_view key) {
  std::vector<std::string> names;
  for (const TomlNode& element : table.take_array(key, kNamesAllowed)) {
    const auto value = reading.value(table.name_of(key) + "[]", element, name());
    if (value) names.push_back(with_namespace(std::get<std::string>(*value)));
  }
  return names;
}

void check(TomlReading& reading, TomlTable& table, const OpTableRow& row) {
  if (row.since && row.before && *row.since >= *row.before) {
    reading.error(table.line_of("before"), table.name_of("before") + " is not above " +
                                               table.name_of("since") +
                                               "; allowed: a later version than it");
  }
  if (row.then && !row.before) {
    reading.error(table.line_of("then"), table.name_of("then") + " needs " +
                                             table.name_of("before") +
                                             "; allowed: the classes from that version on");
  }
  if (row.macos_since && row.macos_before && *row.macos_since >= *row.macos_before) {
    reading.error(table.line_of("macos_before"), table.name_of("macos_before") + " is not above " +
                                                     table.name_of("macos_since") +
                                                     "; allowed: a later version than it");
  }
}

bool has(const TomlNode& table, std::string_view key) {
  return std::any_of(table.entries.begin(), table.entries.end(),
                     [key](const TomlEntry& entry) { return entry.key == key; });
}

/// Whether both rows say something of one version under the same conditions.
bool say_the_same(const OpTableRow& a, const OpTableRow& b) {
  const auto ends_by = [](const OpTableRow& early, const OpTableRow& late) {
    return early.before && !early.then && late.since && *early.before <= *late.since;
  };
  return a.operation == b.operation && a.backend == b.backend && a.macos_since == b.macos_since &&
         a.macos_before == b.macos_before && a.contiguous == b.contiguous &&
         a.forced_graph_path == b.forced_graph_path && !ends_by(a, b) && !ends_by(b, a);
}

}  // namespace

Allowed torch_version() {
  return {.like = std::string(),
          .type = "a string",
          .wrong = "is not a version",
          .text = std::string(kVersionAllowed),
          .holds = [](const Value& value) { return is_version(std::get<std::string>(value)); }};
}

std::string with_namespace(std::string_view operation) {
  const bool has_one = operation == "*" || operation.find("::") != operation.npos;
  return has_one ? std::string(operation) : "aten::" + std::string(operation);
}

std::vector<OpTableRow> read_op_table(TomlReading& reading) {
  std::vector<OpTableRow> rows;
  TomlTable root(reading, &reading.root(), "");
  for (const TomlNode& node : root.take_array("operations", "tables, [[operations]]")) {
    TomlTable table(reading, &node, "operations");
    OpTableRow row;
    row.line = table.line();
    // Asked for in the order in which people are told of them.
    const bool named = table.require_node("names", kNamesAllowed) != nullptr;
    const std::vector<std::string> names =
        named ? take_names(reading, table, "names") : std::vector<std::string>();
    const auto backend =
        table.require("backend", words({std::begin(kTableBackends), std::end(kTableBackends)}));
    if (backend) row.backend = std::get<std::string>(*backend);
    row.classes = take_classes(reading, table, "classes");
    row.members = take_names(reading, table, "members");
    row.since = take_version(table, "since");
    row.before = take_version(table, "before");
    row.then = take_classes(reading, table, "then");
    row.macos_since = take_macos(table, "macos_since");
    row.macos_before = take_macos(table, "macos_before");
    row.contiguous = take_condition(table, "contiguous");
    row.forced_graph_path = take_condition(table, "forced_graph_path");
    if (const auto source = table.take("source", text_up_to(1'000))) {
      row.source = std::get<std::string>(*source);
    }
    table.report_unknown();
    const bool says_classes = has(node, "classes");
    const bool says_members = has(node, "members");
    if (says_classes == says_members) {
      reading.error(row.line, "operations has " + std::string(says_classes ? "both" : "neither") +
                                  " classes " + (says_classes ? "and" : "nor") +
                                  " members; allowed: one of the two");
    }
    check(reading, table, row);
    if (named && names.empty() && !reading.is_broken(node)) {
      reading.error(table.line_of("names"),
                    "operations.names has no name; allowed: " + std::string(kNamesAllowed));
    }
    if (row.backend.empty()) continue;  // Reported; there is no table to put it into.
    for (const std::string& operation : names) {
      row.operation = operation;
      const auto twin = std::find_if(rows.begin(), rows.end(), [&row](const OpTableRow& other) {
        return say_the_same(row, other);
      });
      if (twin != rows.end()) {
        reading.error(table.line_of("names"),
                      "operations.names: " + operation + " on " + row.backend +
                          " is there already, in the row of line " + std::to_string(twin->line) +
                          "; allowed: one row for each version and condition");
        continue;
      }
      rows.push_back(row);
    }
  }
  root.report_unknown();
  return rows;
}

}  // namespace streamgate::policies::internal

// SPDX-License-Identifier: Apache-2.0
//
// What the rows of op tables mean together: which of them hold, how files lie on top of each other,
// and what a composite comes to.
#include <streamgate/policies/internal/op_table_file.h>
#include <streamgate/policies/op_table.h>

#include <algorithm>
#include <cstddef>

namespace streamgate::policies {
namespace {

using internal::TomlReading;

/// The key of an operation in the table, which is a part of its name: "add" of "aten::add".
std::string_view key_of(std::string_view operation) {
  constexpr std::string_view kAten = "aten::";
  if (operation.starts_with(kAten) && operation != "aten::*") operation.remove_prefix(kAten.size());
  return operation;
}

std::optional<OpClassSet> united(std::optional<OpClassSet> a, std::optional<OpClassSet> b) {
  if (!a || !b) return a ? a : b;
  return *a | *b;
}

/// A condition that the situation leaves open may hold.
template <typename T>
bool may_be(const std::optional<T>& wanted, const std::optional<T>& is) {
  return !wanted || !is || *wanted == *is;
}

bool may_hold(const OpTableRow& row, const Situation& situation) {
  if (row.macos_since && situation.macos && *situation.macos < *row.macos_since) return false;
  if (row.macos_before && situation.macos && *situation.macos >= *row.macos_before) return false;
  return may_be(row.contiguous, situation.contiguous) &&
         may_be(row.forced_graph_path, situation.forced_graph_path);
}

/// The backend whose rows hold for another.
std::string_view table_of(std::string_view backend) {
  if (backend == "emulator") return "mps";
  return backend == "inline" ? "cpu" : backend;
}

}  // namespace

std::optional<TorchVersion> torch_version_from(std::string_view text) noexcept {
  TorchVersion version;
  unsigned* const parts[] = {&version.major, &version.minor};
  for (std::size_t i = 0; i < 2; ++i) {
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
      *parts[i] = *parts[i] * 10 + static_cast<unsigned>(text[digits++] - '0');
      if (digits > 4) return std::nullopt;
    }
    if (digits == 0) return std::nullopt;
    text.remove_prefix(digits);
    if (i == 0) {
      if (text.empty() || text.front() != '.') return std::nullopt;
      text.remove_prefix(1);
    }
  }
  return version;
}

const OpTable& OpTable::shipped() {
  // Never destroyed: a static destructor may still classify.
  static const auto& table = *new OpTable(
      OpTable().extended_by_text(internal::shipped_op_table(), "the shipped op table"));
  return table;
}

OpTable OpTable::with(TomlReading reading) const {
  OpTable table = *this;
  const std::vector<OpTableRow> rows = internal::read_op_table(reading);
  const auto place = [&table](const OpTableRow& row) -> std::vector<OpTableRow>& {
    return table.backends_[row.backend][std::string(key_of(row.operation))];
  };
  // First all that was said of an operation is taken away, since a file may have several rows.
  for (const OpTableRow& row : rows) place(row).clear();
  for (const OpTableRow& row : rows) place(row).push_back(row);

  // A composite of the table under this file may have lost a member to it, so all are looked at.
  // That members are no composites keeps a look-up short and free of circles.
  for (const auto& [backend, operations] : table.backends_) {
    for (const auto& [key, composites] : operations) {
      for (const OpTableRow& composite : composites) {
        for (const std::string& member : composite.members) {
          const auto found = operations.find(key_of(member));
          if (found == operations.end()) {
            reading.error(composite.line, "operations.members: " + member + " has no row on " +
                                              backend + "; allowed: operations of this table");
            continue;
          }
          // Any of its rows: the one for another version or condition would be a circle as well.
          const auto row = std::find_if(found->second.begin(), found->second.end(),
                                        [](const OpTableRow& r) { return !r.members.empty(); });
          if (row == found->second.end()) continue;
          const bool is_new = std::any_of(rows.begin(), rows.end(), [&](const OpTableRow& r) {
            return r.backend == row->backend && r.operation == row->operation;
          });
          reading.error(is_new ? row->line : composite.line,
                        "operations.members: " + member + ", a member of " + composite.operation +
                            ", has members itself; allowed: operations with classes");
        }
      }
    }
  }
  const std::string problems = reading.problems();
  if (!problems.empty()) throw OpTableError(problems);
  return table;
}

OpTable OpTable::extended_by(const std::filesystem::path& file) const {
  return with(TomlReading::of_file(file));
}

OpTable OpTable::extended_by_text(std::string_view toml, std::string_view source) const {
  return with(TomlReading(toml, source));
}

std::optional<OpClassSet> OpTable::classes_of(const Operations& operations, const OpTableRow& row,
                                              const Situation& situation) noexcept {
  if (!may_hold(row, situation)) return std::nullopt;
  std::optional<OpClassSet> now = row.classes;
  for (const std::string& member : row.members) {
    now = united(now, find_in(operations, key_of(member), situation).value_or(kUnknownOpClass));
  }
  const auto& version = situation.libtorch;
  if (version && row.since && *version < *row.since) return std::nullopt;
  if (!row.before) return now;
  if (version) return *version < *row.before ? now : row.then;
  return united(now, row.then);
}

std::optional<OpClassSet> OpTable::find_in(const Operations& operations, std::string_view key,
                                           const Situation& situation) noexcept {
  const auto found = operations.find(key);
  if (found == operations.end()) return std::nullopt;
  std::optional<OpClassSet> classes;
  for (const OpTableRow& row : found->second) {
    classes = united(classes, classes_of(operations, row, situation));
  }
  return classes;
}

std::optional<OpClassSet> OpTable::find(std::string_view operation,
                                        const Situation& situation) const noexcept {
  const auto backend = backends_.find(table_of(situation.backend));
  if (backend == backends_.end()) return std::nullopt;
  const Operations& operations = backend->second;

  const std::string_view key = key_of(operation);
  const std::size_t colons = key.find("::");
  const std::size_t name_begins = colons == key.npos ? 0 : colons + 2;
  const std::string_view base = key.substr(0, key.find('.', name_begins));
  if (auto classes = find_in(operations, key, situation)) return classes;
  if (auto classes = find_in(operations, base, situation)) return classes;
  // add_ is add in place; __iand__ is a name of its own.
  if (base.ends_with('_') && !base.ends_with("__")) {
    const std::string_view functional = base.substr(0, base.size() - 1);
    if (auto classes = find_in(operations, functional, situation)) return classes;
  }
  if (colons == key.npos) {
    if (auto classes = find_in(operations, "aten::*", situation)) return classes;
  } else {
    // "ours::*" without making that text: a star comes before all that names consist of.
    const std::string_view space = key.substr(0, name_begins);
    const auto first = operations.lower_bound(space);
    if (first != operations.end() && first->first.size() == space.size() + 1 &&
        first->first.starts_with(space) && first->first.back() == '*') {
      if (auto classes = find_in(operations, first->first, situation)) return classes;
    }
  }
  return find_in(operations, "*", situation);
}

std::vector<OpTableRow> OpTable::rows() const {
  std::vector<OpTableRow> all;
  for (const auto& [backend, operations] : backends_) {
    for (const auto& [key, rows] : operations) all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

}  // namespace streamgate::policies

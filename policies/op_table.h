// SPDX-License-Identifier: Apache-2.0
//
// Which op class an operation has: tables keyed by backend, libtorch version and condition. The
// content is data (op_table.toml, and files of users); what to do about an operation that no table
// knows is the caller's business, as is finding out which operations a piece of work consists of.
#pragma once

#include <streamgate/policies/op_class.h>

#include <compare>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::policies {
namespace internal {
class TomlReading;
}

/// A libtorch version as far as op classes depend on it.
struct TorchVersion {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const TorchVersion&) const = default;
};

/// The version that a text begins with, as "2.9", "2.11.0+cu130" or "1.13.1 (of the headers)";
/// nothing when it begins with none.
[[nodiscard]] std::optional<TorchVersion> torch_version_from(std::string_view text) noexcept;

/// Under what an operation runs. What is not known is left out, and then counts as the worst.
struct Situation {
  /// "cpu", "cuda", "mps", "emulator" or "inline". The emulator stands in for Metal and has its
  /// rows; inline has those of the CPU.
  std::string_view backend = "cpu";
  std::optional<TorchVersion> libtorch{};
  std::optional<unsigned> macos{};          ///< 15 of macOS 15.1.
  std::optional<bool> forced_graph_path{};  ///< MPS_FORCE_GRAPH_PATH, mps.force_graph_path.
  std::optional<bool> contiguous{};         ///< All tensors of the operation are.
};

/// A table that cannot be used. what() has one line for each thing that is wrong; each names file,
/// line, key and what is allowed.
class OpTableError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One row for one operation, as the file says it; docs/op_classes.md tells what each key means.
struct OpTableRow {
  std::string operation{};  ///< With its namespace.
  std::string backend{};
  std::optional<OpClassSet> classes{};  ///< Nothing: the union of the members' classes.
  std::vector<std::string> members{};
  std::optional<TorchVersion> since{};
  std::optional<TorchVersion> before{};
  std::optional<OpClassSet> then{};  ///< From `before` on; nothing: the row ends there.
  std::optional<unsigned> macos_since{};
  std::optional<unsigned> macos_before{};
  std::optional<bool> forced_graph_path{};
  std::optional<bool> contiguous{};
  std::string source{};
  std::uint32_t line = 0;  ///< In its file.
};

/// From an operation's name to its op classes.
///
/// Thread-safety: immutable, so thread-safe. Ownership: a value; shipped() lives as long as the
/// program. Blocking: only extended_by, while it reads. Failure: find says nothing for what it does
/// not know; extended_by throws OpTableError.
///
///     const OpTable table = OpTable::shipped().extended_by("our_ops.toml");
///     const Situation here{.backend = "mps", .libtorch = TorchVersion{2, 9}, .macos = 15};
///     OpClassSet classes = table.find("aten::linear", here).value_or(kUnknownOpClass);
///     task.op_class = classes | table.find("aten::relu", here).value_or(kUnknownOpClass);
class OpTable {
 public:
  /// The table that is compiled in, of policies/op_table.toml.
  [[nodiscard]] static const OpTable& shipped();

  /// This table and the rows of a file: what the file says of an operation on a backend replaces all
  /// that was said of it.
  [[nodiscard]] OpTable extended_by(const std::filesystem::path& file) const;
  /// The same for text; `source` stands for the file's name in errors.
  [[nodiscard]] OpTable extended_by_text(std::string_view toml, std::string_view source) const;

  /// The classes that an operation needs together; nothing when no row says. Rows are united over
  /// all that the situation leaves open. The name may lack its namespace, which then is aten, and
  /// may have an overload. Looked up in turn: the name, the name without overload, for an in-place
  /// name (add_) its functional one (add), "namespace::*", and "*". Allocates nothing.
  [[nodiscard]] std::optional<OpClassSet> find(std::string_view operation,
                                               const Situation& situation) const noexcept;

  /// All rows, a row of several names once for each, in the order of backend and name.
  [[nodiscard]] std::vector<OpTableRow> rows() const;

 private:
  /// By operation, without "aten::".
  using Operations = std::map<std::string, std::vector<OpTableRow>, std::less<>>;

  OpTable() = default;
  [[nodiscard]] OpTable with(internal::TomlReading reading) const;
  [[nodiscard]] static std::optional<OpClassSet> find_in(const Operations& operations,
                                                         std::string_view key,
                                                         const Situation& situation) noexcept;
  [[nodiscard]] static std::optional<OpClassSet> classes_of(const Operations& operations,
                                                            const OpTableRow& row,
                                                            const Situation& situation) noexcept;

  std::map<std::string, Operations, std::less<>> backends_;
};

}  // namespace streamgate::policies

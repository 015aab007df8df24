// SPDX-License-Identifier: Apache-2.0
//
// How an operation may run beside others: the op classes, and sets of them. Names and set algebra
// only; which operation has which class is the business of the op tables, and how many of a class
// may run at once that of the gate.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace streamgate::policies {

/// How an operation may run beside others on one device.
enum class OpClass : std::uint8_t {
  kRaw = 0,        ///< Any number at once.
  kKernel = 1,     ///< Uses device kernel objects with shared state.
  kGraph = 2,      ///< Encodes a graph (MPSGraph, CUDA graph capture).
  kExclusive = 3,  ///< Runs alone: cache emptying, device-wide synchronisation, a profiler.
};

inline constexpr std::size_t kOpClasses = 4;
inline constexpr std::array<OpClass, kOpClasses> kAllOpClasses = {
    OpClass::kRaw, OpClass::kKernel, OpClass::kGraph, OpClass::kExclusive};

/// The position of a class in arrays that hold one entry for each.
[[nodiscard]] constexpr std::size_t index_of(OpClass op_class) noexcept {
  return static_cast<std::size_t>(op_class);
}

/// "raw", "kernel", "graph" or "exclusive": the word in configs, metrics and logs.
[[nodiscard]] std::string_view to_string(OpClass op_class) noexcept;

/// The class of that name; nothing when there is none.
[[nodiscard]] std::optional<OpClass> op_class_from(std::string_view name) noexcept;

/// The classes whose permits one task needs together. A value type of one byte.
///
/// A composite that encodes a graph and also uses kernel objects is `kKernel | kGraph` and takes a
/// permit of both at once. Two members follow from the others and are normalised away: raw beside
/// anything more restrictive, and everything beside exclusive. So five distinct sets remain; each
/// is a *lane*, numbered by lane().
class OpClassSet {
 public:
  constexpr OpClassSet(OpClass op_class) noexcept  // NOLINT: a class is a set of one
      : bits_(static_cast<std::uint8_t>(1U << index_of(op_class))) {}

  [[nodiscard]] constexpr bool contains(OpClass op_class) const noexcept {
    return (bits_ & (1U << index_of(op_class))) != 0;
  }

  /// 0 raw, 1 kernel, 2 graph, 3 kernel and graph, 4 exclusive.
  [[nodiscard]] constexpr std::size_t lane() const noexcept {
    if (contains(OpClass::kExclusive)) return 4;
    return (bits_ >> 1U) & 3U;
  }

  [[nodiscard]] static constexpr OpClassSet from_lane(std::size_t lane) noexcept {
    return OpClassSet(static_cast<std::uint8_t>(lane == 4 ? 8U : lane == 0 ? 1U : lane << 1U));
  }

  /// Whether a task that holds permits for this set may also run `inner` on its own thread without
  /// asking for more: raw is part of everything, exclusive contains everything.
  [[nodiscard]] constexpr bool covers(OpClassSet inner) const noexcept {
    return contains(OpClass::kExclusive) || inner.lane() == 0 ||
           (inner.bits_ & ~bits_) == 0;
  }

  [[nodiscard]] constexpr bool shares_with(OpClassSet other) const noexcept {
    return (bits_ & other.bits_) != 0;
  }

  /// What `inner` needs beyond this set; nothing when it is covered.
  [[nodiscard]] constexpr std::optional<OpClassSet> missing_for(OpClassSet inner) const noexcept {
    if (covers(inner)) return std::nullopt;
    return OpClassSet(static_cast<std::uint8_t>(inner.bits_ & ~bits_));
  }

  friend constexpr OpClassSet operator|(OpClassSet a, OpClassSet b) noexcept {
    return OpClassSet(static_cast<std::uint8_t>(a.bits_ | b.bits_));
  }
  friend constexpr bool operator==(OpClassSet a, OpClassSet b) noexcept = default;

 private:
  constexpr explicit OpClassSet(std::uint8_t bits) noexcept : bits_(normalised(bits)) {}

  static constexpr std::uint8_t normalised(std::uint8_t bits) noexcept {
    if ((bits & 8U) != 0) return 8U;
    return (bits & 6U) != 0 ? static_cast<std::uint8_t>(bits & 6U) : bits;
  }

  std::uint8_t bits_;
};

constexpr OpClassSet operator|(OpClass a, OpClass b) noexcept {
  return OpClassSet(a) | OpClassSet(b);
}

inline constexpr std::size_t kLanes = 5;

/// "raw", "kernel", "graph", "kernel+graph" or "exclusive".
[[nodiscard]] std::string_view to_string(OpClassSet classes) noexcept;

/// What an operation of unknown class is treated as: it may encode a graph, and it may share kernel
/// objects, so it takes a permit of both.
inline constexpr OpClassSet kUnknownOpClass = OpClass::kKernel | OpClass::kGraph;

}  // namespace streamgate::policies

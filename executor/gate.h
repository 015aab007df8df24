// SPDX-License-Identifier: Apache-2.0
//
// Admission for the op classes of one device: who may run beside whom, and how many. It counts
// permits and nothing else; who waits, in which order, is the admission queue's business.
#pragma once

#include <streamgate/policies/op_class.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace streamgate::executor {

/// What a gate is built from.
struct GateOptions {
  /// The measured safe width of each class, by index_of(OpClass); at least 1, at most
  /// Gate::kMaxCeiling. Exclusive's is 1 whatever is given.
  std::array<std::size_t, policies::kOpClasses> ceilings{1, 1, 1, 1};
  /// Classes that were measured as unsafe together. Exclusive excludes every class without being
  /// named here.
  std::vector<std::pair<policies::OpClass, policies::OpClass>> incompatible{};
};

/// Counts the permits in use of each op class of one device, under a limit that moves and a ceiling
/// that does not: in_use <= ceiling at every instant, and no permit is given above the limit that
/// was in force when it was given.
///
/// Thread-safety: thread-safe and lock-free. Ownership: of nothing; a permit is a number, and
/// whoever got it gives it back by release. Blocking: never. Failure: try_acquire says no.
///
///     Gate gate({.ceilings = {8, 2, 1, 1}});
///     if (gate.try_acquire(OpClass::kGraph)) {
///       encode();
///       gate.release(OpClass::kGraph);
///     }
///
/// All counts live in one word, so that classes that exclude each other are judged in one step:
///
///     bits 0-15 raw | 16-26 kernel | 27-37 graph | 38 exclusive | 39 closed | 40-63 epoch
///
/// A change of a limit advances the epoch after it has stored the limit. An acquisition that was
/// decided under the old limit then fails its compare-exchange and decides again; so once set_limit
/// has returned, nothing is admitted under the old limit.
class Gate {
 public:
  static constexpr std::size_t kMaxCeiling = 1023;

  /// Throws std::invalid_argument for a ceiling outside 1..kMaxCeiling. Limits start at the
  /// ceiling.
  explicit Gate(const GateOptions& options);
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// Why an acquisition did not succeed.
  enum class Refusal : std::uint8_t {
    kNone,     ///< It did succeed.
    kFull,     ///< A class of the set is at its limit.
    kExcluded  ///< A class that must not run beside the set is running.
  };

  /// Takes one permit of every class of the set, all or none. Refused when closed, as kFull.
  [[nodiscard]] Refusal acquire(policies::OpClassSet classes) noexcept;

  [[nodiscard]] bool try_acquire(policies::OpClassSet classes) noexcept {
    return acquire(classes) == Refusal::kNone;
  }

  /// Gives the permits of one acquisition back.
  /// REQUIRES: they were acquired, and not released before.
  void release(policies::OpClassSet classes) noexcept;

  /// Whether permits that are in use may pass to the next task of the same set, as none of its
  /// classes is above its limit. REQUIRES: the caller holds permits for the set.
  [[nodiscard]] bool may_keep(policies::OpClassSet classes) const noexcept;

  /// Moves a limit to `limit`, clamped to 1..ceiling, and returns where it now is. Lowering lets
  /// running tasks drain. The caller wakes what a raised limit lets through.
  std::size_t set_limit(policies::OpClass op_class, std::size_t limit) noexcept;

  /// Whether acquire_closed would succeed at this moment.
  [[nodiscard]] Refusal would_refuse(policies::OpClassSet classes) const noexcept;

  /// From now on nothing is admitted by acquire; acquire_closed still admits. Cannot be undone.
  void close() noexcept;
  [[nodiscard]] bool closed() const noexcept;

  /// As acquire, also when closed: for tasks that were queued before.
  [[nodiscard]] Refusal acquire_closed(policies::OpClassSet classes) noexcept;

  [[nodiscard]] std::size_t in_use(policies::OpClass op_class) const noexcept;
  /// Permits in use over all classes; read in one step.
  [[nodiscard]] bool idle() const noexcept;
  [[nodiscard]] std::size_t limit(policies::OpClass op_class) const noexcept;
  [[nodiscard]] std::size_t ceiling(policies::OpClass op_class) const noexcept {
    return ceilings_[policies::index_of(op_class)];
  }
  /// Whether tasks of these sets must not run at the same time.
  [[nodiscard]] bool exclude_each_other(policies::OpClassSet a,
                                        policies::OpClassSet b) const noexcept;

 private:
  [[nodiscard]] Refusal acquire_unless(std::uint64_t refusing_bits,
                                       policies::OpClassSet classes) noexcept;

  [[nodiscard]] Refusal judge(std::uint64_t word, policies::OpClassSet classes) const noexcept;

  alignas(64) std::atomic<std::uint64_t> word_{0};
  // Beside the word on purpose: an acquisition reads both.
  std::array<std::atomic<std::uint32_t>, policies::kOpClasses> limits_;
  std::array<std::size_t, policies::kOpClasses> ceilings_;
  std::array<std::uint64_t, policies::kLanes> excluding_bits_{};  ///< Counts that must be zero.
};

}  // namespace streamgate::executor

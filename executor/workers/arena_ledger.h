// SPDX-License-Identifier: Apache-2.0
//
// Who has which part of an arena of shared memory. The ledger is its owner's private memory: the
// other process can neither read nor damage it, and it never looks into the arena itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

namespace streamgate::executor {

/// Allocates ranges of [0, bytes), first fit, and counts who holds each: this process, and the
/// other one, as often as a range was lent to it. A range is free when nobody holds it.
///
/// Thread-safety: externally synchronised. Ownership: of its own tables only. Blocking: never.
/// Failure: allocate says nothing fits; returned says that this range was not lent.
///
///     ArenaLedger ledger(1 << 20, 4096);
///     auto offset = ledger.allocate(1000);       // held by us
///     ledger.lend(*offset);                      // and by the other process
///     ledger.drop(*offset);                      // now by that one only
///     if (!ledger.returned(*offset)) ...         // free again, or the other process lies
class ArenaLedger {
 public:
  /// Ranges begin and have sizes at multiples of this: a cache line, and what vector code wants.
  static constexpr std::size_t kAlignment = 64;

  /// At most `max_lent` loans are out at a time, so that the ring of returns never overflows.
  ArenaLedger(std::size_t bytes, std::size_t max_lent);

  /// The offset of a range for so many bytes (at least one unit), held once by this process.
  [[nodiscard]] std::optional<std::uint64_t> allocate(std::size_t bytes);
  /// One more holder in this process. REQUIRES: the range is held by this process.
  void hold(std::uint64_t offset);
  /// One holder less in this process. REQUIRES: the range is held by this process.
  void drop(std::uint64_t offset);
  /// Lends the range; false when too many loans are out. REQUIRES: held by this process.
  [[nodiscard]] bool lend(std::uint64_t offset);
  /// The other process says it has done with a loan. False when there is no such loan.
  [[nodiscard]] bool returned(std::uint64_t offset);

  [[nodiscard]] std::size_t used_bytes() const noexcept { return used_; }
  [[nodiscard]] std::size_t lent() const noexcept { return lent_; }
  /// The bytes behind an offset that is in use; 0 for any other number.
  [[nodiscard]] std::size_t bytes_at(std::uint64_t offset) const;

 private:
  struct Range {
    std::size_t bytes = 0;
    std::size_t holders = 0;
    std::size_t loans = 0;
  };
  void free_if_unheld(std::unordered_map<std::uint64_t, Range>::iterator range);

  std::map<std::uint64_t, std::size_t> free_;  ///< Bytes by offset; no two touch.
  std::unordered_map<std::uint64_t, Range> ranges_;
  std::size_t used_ = 0;
  std::size_t lent_ = 0;
  std::size_t max_lent_;
};

}  // namespace streamgate::executor

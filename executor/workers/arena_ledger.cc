// SPDX-License-Identifier: Apache-2.0
//
// First fit from the front, so that the pages in use stay few and warm.
#include <streamgate/executor/workers/arena_ledger.h>

#include <cassert>
#include <iterator>

namespace streamgate::executor {

ArenaLedger::ArenaLedger(std::size_t bytes, std::size_t max_lent) : max_lent_(max_lent) {
  const std::size_t whole = bytes / kAlignment * kAlignment;
  if (whole > 0) free_.emplace(0, whole);
}

std::optional<std::uint64_t> ArenaLedger::allocate(std::size_t bytes) {
  if (bytes > SIZE_MAX - kAlignment) return std::nullopt;
  const std::size_t wanted =
      bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment;
  for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
    if (hole->second < wanted) continue;
    const std::uint64_t offset = hole->first;
    ranges_.emplace(offset, Range{.bytes = wanted, .holders = 1, .loans = 0});
    const std::size_t left = hole->second - wanted;
    free_.erase(hole);
    if (left > 0) free_.emplace(offset + wanted, left);
    used_ += wanted;
    return offset;
  }
  return std::nullopt;
}

void ArenaLedger::hold(std::uint64_t offset) {
  const auto range = ranges_.find(offset);
  assert(range != ranges_.end() && range->second.holders > 0);
  ++range->second.holders;
}

void ArenaLedger::drop(std::uint64_t offset) {
  const auto range = ranges_.find(offset);
  assert(range != ranges_.end() && range->second.holders > 0);
  --range->second.holders;
  free_if_unheld(range);
}

bool ArenaLedger::lend(std::uint64_t offset) {
  const auto range = ranges_.find(offset);
  assert(range != ranges_.end() && range->second.holders > 0);
  if (lent_ == max_lent_) return false;
  ++range->second.loans;
  ++lent_;
  return true;
}

bool ArenaLedger::returned(std::uint64_t offset) {
  const auto range = ranges_.find(offset);
  if (range == ranges_.end() || range->second.loans == 0) return false;
  --range->second.loans;
  --lent_;
  free_if_unheld(range);
  return true;
}

std::size_t ArenaLedger::bytes_at(std::uint64_t offset) const {
  const auto range = ranges_.find(offset);
  return range == ranges_.end() ? 0 : range->second.bytes;
}

void ArenaLedger::free_if_unheld(std::unordered_map<std::uint64_t, Range>::iterator range) {
  if (range->second.holders > 0 || range->second.loans > 0) return;
  const std::uint64_t offset = range->first;
  std::size_t bytes = range->second.bytes;
  used_ -= bytes;
  ranges_.erase(range);
  auto after = free_.lower_bound(offset);
  if (after != free_.end() && offset + bytes == after->first) {
    bytes += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_.emplace_hint(after, offset, bytes);
}

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// One word of free slots.
#include <streamgate/executor/stream_pool.h>

#include <bit>
#include <cassert>
#include <stdexcept>
#include <string>

namespace streamgate::executor {
namespace {

constexpr std::uint64_t bit(StreamIndex slot) { return std::uint64_t{1} << slot; }

std::uint64_t all_slots(std::size_t slots) {
  if (slots < 1 || slots > StreamPool::kMaxSlots) {
    throw std::invalid_argument("stream pool: " + std::to_string(slots) + " slots; allowed: 1.." +
                                std::to_string(StreamPool::kMaxSlots));
  }
  return slots == StreamPool::kMaxSlots ? ~std::uint64_t{0} : bit(slots) - 1;
}

}  // namespace

StreamPool::StreamPool(std::size_t slots) : slots_(slots), free_(all_slots(slots)) {}

std::optional<StreamIndex> StreamPool::lease(Caller caller) noexcept {
  std::uint64_t free = free_.load(std::memory_order_relaxed);
  for (;;) {
    std::uint64_t eligible = free;
    if (caller == Caller::kOther && slots_ > 1) eligible &= ~bit(0);
    if (eligible == 0) {
      exhausted_.fetch_add(1, std::memory_order_relaxed);
      return std::nullopt;
    }
    const std::uint64_t lowest = eligible & (~eligible + 1);
    // Acquire: pairs with give_back's release, so that the new owner sees what the last one did.
    // Sequentially consistent, as a waiting task must see a slot that was given back before its
    // give-back looked for waiting tasks.
    if (free_.compare_exchange_weak(free, free & ~lowest, std::memory_order_seq_cst,
                                    std::memory_order_relaxed)) {
      return static_cast<StreamIndex>(std::countr_zero(lowest));
    }
  }
}

void StreamPool::give_back(StreamIndex slot) noexcept {
  assert(slot < slots_);
  [[maybe_unused]] const std::uint64_t before =
      free_.fetch_or(bit(slot), std::memory_order_seq_cst);
  assert((before & bit(slot)) == 0 && "a slot was given back twice");
}

bool StreamPool::only_constructors_is_free() const noexcept {
  return slots_ > 1 && free_.load(std::memory_order_relaxed) == bit(0);
}

bool StreamPool::needs_opening(StreamIndex slot) const noexcept {
  // Relaxed: only the holder of the lease asks, and the lease orders it after the one that opened.
  return (opened_.load(std::memory_order_relaxed) & bit(slot)) == 0;
}

void StreamPool::mark_opened(StreamIndex slot) noexcept {
  opened_.fetch_or(bit(slot), std::memory_order_relaxed);
}

std::size_t StreamPool::leased() const noexcept {
  return slots_ - static_cast<std::size_t>(std::popcount(free_.load(std::memory_order_relaxed)));
}

std::size_t StreamPool::opened() const noexcept {
  return static_cast<std::size_t>(std::popcount(opened_.load(std::memory_order_relaxed)));
}

}  // namespace streamgate::executor

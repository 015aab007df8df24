// SPDX-License-Identifier: Apache-2.0
//
// The estimate goes up at once and down slowly: too little reserved is an allocation that fails,
// too much is a task that waits.
#include <streamgate/executor/learned_memory.h>

#include <bit>

namespace streamgate::executor {

std::size_t LearnedMemory::index(std::size_t cost_bytes) noexcept {
  return static_cast<std::size_t>(std::bit_width(cost_bytes));
}

std::optional<std::size_t> LearnedMemory::estimate(std::size_t cost_bytes) const noexcept {
  // Relaxed, here and below: a number, and nothing is read on its word.
  const std::uint64_t held = sizes_[index(cost_bytes)].held.load(std::memory_order_relaxed);
  if (held == 0) return std::nullopt;
  return static_cast<std::size_t>(held - 1);
}

bool LearnedMemory::wants_run(std::size_t cost_bytes) noexcept {
  const std::uint32_t before =
      sizes_[index(cost_bytes)].runs.fetch_add(1, std::memory_order_relaxed);
  return before < kFirstRuns || before % kEvery == 0;
}

void LearnedMemory::learn(std::size_t cost_bytes, std::size_t held) noexcept {
  std::atomic<std::uint64_t>& known = sizes_[index(cost_bytes)].held;
  std::uint64_t before = known.load(std::memory_order_relaxed);
  std::uint64_t after;
  do {
    const std::uint64_t seen = std::uint64_t{held} + 1;
    after = seen >= before ? seen : before - (before - seen + 7) / 8;
  } while (!known.compare_exchange_weak(before, after, std::memory_order_relaxed));
}

}  // namespace streamgate::executor

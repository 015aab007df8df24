// SPDX-License-Identifier: Apache-2.0
//
// Completions on their way to a limit policy that another thread is feeding at this moment. It
// stores them; what is made of them is limit_control's.
#pragma once

#include <streamgate/policies/limit_policy.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace streamgate::executor {

/// A bounded queue of observations, of many writers and one reader at a time.
///
/// Thread-safety: push is thread-safe and lock-free; pop is for one thread at a time, and who hands
/// that role on orders it. Ownership: of its cells. Blocking: never; it allocates nothing. Failure:
/// push says no when the ring is full.
///
///     ObservationRing ring;
///     if (!ring.push(observation)) ++missed;
///     while (const auto next = ring.pop()) policy.observe(*next);
///
/// A cell's turn says whose it is: equal to a position, that position's writer's; one more, its
/// reader's.
class ObservationRing {
 public:
  static constexpr std::size_t kCells = 256;

  ObservationRing() noexcept {
    for (std::size_t i = 0; i < kCells; ++i) {
      cells_[i].turn.store(i, std::memory_order_relaxed);
    }
  }
  ObservationRing(const ObservationRing&) = delete;
  ObservationRing& operator=(const ObservationRing&) = delete;

  [[nodiscard]] bool push(const policies::Observation& observation) noexcept {
    std::uint64_t position = write_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[position % kCells];
      // Acquire: pairs with pop's release; the reader is done with the cell.
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == position) {
        if (write_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed)) {
          cell.observation = observation;
          // Release: pairs with pop's acquire.
          cell.turn.store(position + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < position) {
        return false;
      } else {
        position = write_.load(std::memory_order_relaxed);
      }
    }
  }

  [[nodiscard]] std::optional<policies::Observation> pop() noexcept {
    Cell& cell = cells_[read_ % kCells];
    // Acquire: pairs with push's release.
    if (cell.turn.load(std::memory_order_acquire) != read_ + 1) return std::nullopt;
    const policies::Observation observation = cell.observation;
    // Release: pairs with push's acquire, one round later.
    cell.turn.store(read_ + kCells, std::memory_order_release);
    ++read_;
    return observation;
  }

 private:
  struct alignas(64) Cell {
    std::atomic<std::uint64_t> turn{0};
    policies::Observation observation;
  };
  std::array<Cell, kCells> cells_{};
  alignas(64) std::atomic<std::uint64_t> write_{0};
  alignas(64) std::uint64_t read_ = 0;
};

}  // namespace streamgate::executor

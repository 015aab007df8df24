// SPDX-License-Identifier: Apache-2.0
//
// Which stream slot belongs to whom. It hands out indices; opening a stream and making it current
// is the backend's business.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace streamgate::executor {

/// The slots of one device's streams, each with one owner at a time.
///
/// Thread-safety: thread-safe and lock-free. Ownership: a lease is an index; whoever got it gives
/// it back, once the device is done with the stream. Slots belong to no thread, so threads may come
/// and go. Blocking: never. Failure: lease returns nothing when no slot is free, and counts that.
///
/// Slot 0 is for work that runs on the thread that constructed the executor: Metal ties its default
/// stream to the first thread that uses it (facts.md 1.1, seeds 000 and 002). With a single slot,
/// everybody shares it in turn.
class StreamPool {
 public:
  static constexpr std::size_t kMaxSlots = 64;

  enum class Caller : std::uint8_t { kConstructor, kOther };

  /// Throws std::invalid_argument for a number of slots outside 1..kMaxSlots.
  explicit StreamPool(std::size_t slots);
  StreamPool(const StreamPool&) = delete;
  StreamPool& operator=(const StreamPool&) = delete;

  /// The lowest free slot, so that few streams stay warm. The constructing thread gets slot 0 while
  /// that is free.
  [[nodiscard]] std::optional<StreamIndex> lease(Caller caller) noexcept;

  /// REQUIRES: `slot` is leased, and the device is done with its stream.
  void give_back(StreamIndex slot) noexcept;

  /// Whether a lease is to be had by the constructing thread, and by nobody else.
  [[nodiscard]] bool only_constructors_is_free() const noexcept;

  /// Whether the stream behind the slot still has to be opened; says yes once.
  /// REQUIRES: the caller holds the lease on the slot.
  [[nodiscard]] bool needs_opening(StreamIndex slot) const noexcept;
  void mark_opened(StreamIndex slot) noexcept;

  [[nodiscard]] std::size_t slots() const noexcept { return slots_; }
  [[nodiscard]] std::size_t leased() const noexcept;
  [[nodiscard]] std::size_t opened() const noexcept;
  /// How often lease found nothing.
  [[nodiscard]] std::uint64_t exhausted() const noexcept {
    return exhausted_.load(std::memory_order_relaxed);
  }

 private:
  std::size_t slots_;
  alignas(64) std::atomic<std::uint64_t> free_;
  std::atomic<std::uint64_t> opened_{0};
  std::atomic<std::uint64_t> exhausted_{0};
};

}  // namespace streamgate::executor

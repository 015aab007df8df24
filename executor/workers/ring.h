// SPDX-License-Identifier: Apache-2.0
//
// A ring of small values in shared memory, one process writing and one reading, and the doorbells
// that each sleeps at. It never believes an index that the other process wrote. What the values
// mean, and when to give up waiting for them, is the channel's business.
#pragma once

#include <streamgate/executor/internal/pause.h>
#include <streamgate/executor/workers/shared_futex.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace streamgate::executor {

/// A place in shared memory where one side sleeps until the other rings. Both sides ring: the
/// sleeper's own process does so to end the wait.
///
/// Thread-safety: thread-safe; several may sleep at once. Ownership: of nothing. Blocking: wait
/// spins about 5 us, as long as falling asleep and waking take, and then sleeps. Failure: a process
/// that scribbles over the word can make a sleeper miss a ring; the deadline ends that.
///
///     if (!bell.wait(deadline, [&] { return !ring.empty(); })) ...   // the deadline came first
class Doorbell {
 public:
  /// Returns once ready() is true, and false when the deadline came first.
  template <typename Ready>
  [[nodiscard]] bool wait(std::chrono::steady_clock::time_point deadline, Ready ready) {
    constexpr int kSpins = 250;
    for (int spin = 0; spin < kSpins; ++spin) {
      if (ready()) return true;
      pause();
    }
    for (;;) {
      // seq_cst, with the exchange in ring(): either that sees this, or ready() sees what it rang
      // for.
      asleep_.store(1, std::memory_order_seq_cst);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (ready()) return true;
      if (std::chrono::steady_clock::now() >= deadline) return false;
      sleep_on_shared(asleep_, 1, deadline);
    }
  }

  /// Call after what is waited for was stored. Costs a fence when nobody sleeps.
  void ring() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_relaxed) == 0) return;  // Ordered by the fence.
    ring_always();
  }
  /// Rings whatever the word says: for an end that must be heard.
  void ring_always() noexcept {
    asleep_.exchange(0, std::memory_order_seq_cst);
    wake_on_shared(asleep_);
  }

 private:
  std::atomic<std::uint32_t> asleep_{0};
};

/// A ring as it lies in shared memory; all zero is an empty one. Counts run freely and wrap.
template <typename Value, std::uint32_t kCapacity>
struct SharedRing {
  static_assert(std::is_trivially_copyable_v<Value>);
  static_assert((kCapacity & (kCapacity - 1)) == 0, "so that wrapping counts keep their slots");

  alignas(64) std::atomic<std::uint32_t> written;  ///< Values ever written; the producer's.
  alignas(64) std::atomic<std::uint32_t> taken;    ///< Values ever taken; the consumer's.
  alignas(64) Doorbell data;                       ///< The consumer sleeps here.
  alignas(64) Doorbell space;                      ///< The producer sleeps here.
  alignas(64) std::array<Value, kCapacity> slots;
};

enum class RingStatus : std::uint8_t {
  kDone,
  kNot,     ///< Full for a push, empty for a pop.
  kCorrupt  ///< The other side's count cannot be.
};

/// The writing end. Keeps its own count; the one in shared memory is for the other side to read.
///
/// Thread-safety: externally synchronised. Ownership: refers to the ring. Blocking: never.
/// Failure: kNot and kCorrupt; both leave the ring as it is.
///
///     RingProducer producer(memory->ring);
///     if (producer.push(value) == RingStatus::kDone) ...   // the consumer's bell was rung
template <typename Value, std::uint32_t kCapacity>
class RingProducer {
 public:
  explicit RingProducer(SharedRing<Value, kCapacity>& ring) noexcept : ring_(ring) {}

  [[nodiscard]] RingStatus status() noexcept {
    // Acquire: pairs with the release in pop; a slot is read before it is written again.
    const std::uint32_t taken = ring_.taken.load(std::memory_order_acquire);
    // It only grows, and never past what was written.
    if (taken - taken_seen_ > written_ - taken_seen_) return RingStatus::kCorrupt;
    taken_seen_ = taken;
    return written_ - taken == kCapacity ? RingStatus::kNot : RingStatus::kDone;
  }

  [[nodiscard]] RingStatus push(const Value& value) noexcept {
    if (const RingStatus now = status(); now != RingStatus::kDone) return now;
    std::memcpy(&ring_.slots[written_ % kCapacity], &value, sizeof(Value));
    ++written_;
    ring_.written.store(written_, std::memory_order_release);  // Pairs with status() of the other.
    ring_.data.ring();
    return RingStatus::kDone;
  }

 private:
  SharedRing<Value, kCapacity>& ring_;
  std::uint32_t written_ = 0;
  std::uint32_t taken_seen_ = 0;
};

/// A pop: its value is meaningful only with kDone.
template <typename Value>
struct Popped {
  RingStatus status = RingStatus::kNot;
  Value value{};
};

/// The reading end; see RingProducer.
template <typename Value, std::uint32_t kCapacity>
class RingConsumer {
 public:
  explicit RingConsumer(SharedRing<Value, kCapacity>& ring) noexcept : ring_(ring) {}

  [[nodiscard]] RingStatus status() noexcept {
    // Acquire: pairs with the release in push; the slot is written before its count.
    const std::uint32_t written = ring_.written.load(std::memory_order_acquire);
    const std::uint32_t waiting = written - taken_;
    // It only grows, and never past what has room.
    if (waiting > kCapacity || waiting < written_seen_ - taken_) return RingStatus::kCorrupt;
    written_seen_ = written;
    return waiting == 0 ? RingStatus::kNot : RingStatus::kDone;
  }

  [[nodiscard]] Popped<Value> pop() noexcept {
    Popped<Value> popped{.status = status(), .value = {}};
    if (popped.status != RingStatus::kDone) return popped;
    std::memcpy(&popped.value, &ring_.slots[taken_ % kCapacity], sizeof(Value));
    // What is checked is this copy. The compiler must not read the slot again, which the other
    // side may have changed since.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    ++taken_;
    ring_.taken.store(taken_, std::memory_order_release);  // Pairs with status() of the other.
    ring_.space.ring();
    return popped;
  }

 private:
  SharedRing<Value, kCapacity>& ring_;
  std::uint32_t taken_ = 0;
  std::uint32_t written_seen_ = 0;
};

}  // namespace streamgate::executor

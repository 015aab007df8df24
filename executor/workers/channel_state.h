// SPDX-License-Identifier: Apache-2.0
//
// How a channel lies in shared memory, and what each side keeps of it in private. Only channel.cc,
// and tests that damage a channel, include this.
#pragma once

#include <streamgate/executor/workers/arena_ledger.h>
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/ring.h>
#include <streamgate/executor/workers/shared_memory.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace streamgate::executor {

inline constexpr std::uint64_t kChannelMagic = 0x3365'7461'676d'7473;  // "stmgate3"
inline constexpr std::uint32_t kMessageSlots = 256;
inline constexpr std::uint32_t kReturnSlots = 4096;

using MessageRing = SharedRing<ChannelMessage, kMessageSlots>;
using ReturnRing = SharedRing<std::uint64_t, kReturnSlots>;

enum class Side : std::uint8_t { kHost, kWorker };

/// The beginning of the memory; the host's arena follows, then the worker's. Pairs are by side.
struct SharedChannel {
  std::uint64_t magic;
  std::array<std::uint64_t, 2> arena_bytes;
  alignas(64) std::array<std::atomic<std::uint32_t>, 2> closed;  ///< Set by the side itself.
  alignas(64) std::array<Doorbell, 2> ended;         ///< By who sleeps there until the end only.
  alignas(64) std::atomic<std::uint64_t> started;    ///< The worker's.
  std::atomic<std::uint64_t> progress;               ///< The worker's.
  alignas(64) std::atomic<std::uint64_t> cancelled;  ///< The host's.
  std::array<MessageRing, 2> messages;               ///< By who sends.
  std::array<ReturnRing, 2> returns;                 ///< By whose blocks come back.
};

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kArenasBegin = (sizeof(SharedChannel) + kPage - 1) / kPage * kPage;

/// One side's view. It lives as long as the channel or any block of it.
class ChannelState {
 public:
  ChannelState(SharedMemory memory, Side side, std::array<std::uint64_t, 2> arena_bytes);

  [[nodiscard]] static std::size_t index(Side side) noexcept {
    return static_cast<std::size_t>(side);
  }
  [[nodiscard]] std::size_t ours() const noexcept { return index(side_); }
  [[nodiscard]] std::size_t theirs() const noexcept { return 1 - index(side_); }
  [[nodiscard]] std::byte* arena(std::size_t side) const noexcept {
    return memory_.data() + kArenasBegin + (side == 0 ? 0 : arena_bytes_[0]);
  }

  /// The first reason stays. Rings every bell of both sides.
  void end(ChannelEnd why) noexcept;
  [[nodiscard]] bool peer_has_closed() const noexcept {
    return shared_->closed[theirs()].load(std::memory_order_acquire) != 0;
  }
  /// Books what the other side gave back. REQUIRES: ledger_mutex_ is held.
  void collect_returns() noexcept;
  /// Gives a block of the other side's back.
  void give_back(std::uint64_t offset, std::size_t bytes) noexcept;
  /// Ends one hold on a block of ours.
  void drop(std::uint64_t offset) noexcept;

  SharedMemory memory_;
  SharedChannel* shared_;
  Side side_;
  std::array<std::uint64_t, 2> arena_bytes_;  ///< Read once; the shared copy may change.
  std::atomic<ChannelEnd> end_{ChannelEnd::kOpen};
  std::atomic<std::size_t> mapped_{0};  ///< Bytes of the other side's that we hold.
  std::atomic<std::uint64_t> lent_ever_{0};
  std::atomic<std::uint64_t> mapped_ever_{0};

  RingProducer<ChannelMessage, kMessageSlots> outgoing_;  ///< The sending thread's.
  RingConsumer<ChannelMessage, kMessageSlots> incoming_;  ///< The receiving thread's.

  // Lock order: neither is held while the other is taken.
  mutable std::mutex ledger_mutex_;
  ArenaLedger ledger_;
  RingConsumer<std::uint64_t, kReturnSlots> returned_to_us_;

  std::mutex giving_mutex_;
  RingProducer<std::uint64_t, kReturnSlots> given_back_;
};

}  // namespace streamgate::executor

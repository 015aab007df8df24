// SPDX-License-Identifier: Apache-2.0
//
// What two processes talk through: messages of a fixed size in two small rings, and blocks of bytes
// in two arenas, all in one piece of shared memory. It moves bytes and knows how a channel ends;
// what the bytes mean is the codec's business, and who the other process is the supervisor's.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace streamgate::executor {

class ChannelState;
class Descriptor;

/// Why a channel carries no more. The first reason stays.
enum class ChannelEnd : std::uint8_t {
  kOpen,        ///< It does carry.
  kClosed,      ///< This side closed it.
  kPeerClosed,  ///< The other side closed it; what it had sent before was received.
  kPeerDied,    ///< Whoever watches the other process said so.
  kBadRing,     ///< The other side's count of messages cannot be.
  kBadBlock,    ///< A message named a block outside the other side's arena.
  kBadReturn,   ///< The other side gave back a block that it did not have.
  kBadMessage,  ///< A message that the codec, or who reads the messages, cannot accept.
};

/// "open", "closed", "peer_closed", "peer_died", "bad_ring", "bad_block", "bad_return",
/// "bad_message".
[[nodiscard]] std::string_view to_string(ChannelEnd end) noexcept;

/// Thrown where a channel cannot do what was asked because it has ended.
class ChannelError : public std::runtime_error {
 public:
  ChannelError(ChannelEnd end, const std::string& what);
  [[nodiscard]] ChannelEnd end() const noexcept { return end_; }

 private:
  ChannelEnd end_;
};

/// A block as messages name it: an offset into the sender's arena. Zero bytes is no block.
struct BlockReference {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const BlockReference&, const BlockReference&) = default;
};

/// What goes through a ring. Only the block is known to the channel.
struct ChannelMessage {
  std::uint64_t call = 0;  ///< Which call it is about; calls count from 1.
  std::uint32_t kind = 0;
  std::uint32_t detail = 0;
  BlockReference block{};
  std::uint64_t argument = 0;
};

enum class ChannelStatus : std::uint8_t {
  kDone,
  kDeadline,  ///< It came first; the channel is as it was.
  kEnded      ///< See Channel::end.
};

/// The message is meaningful only with kDone.
struct Received {
  ChannelStatus status = ChannelStatus::kDeadline;
  ChannelMessage message{};
};

struct ChannelOptions {
  std::size_t host_arena_bytes = std::size_t{64} << 20;    ///< For arguments.
  std::size_t worker_arena_bytes = std::size_t{64} << 20;  ///< For results.
};

/// Bytes of a channel's memory, of our own arena or of the other side's.
///
/// Thread-safety: one block is confined to a thread at a time; different blocks, also of the same
/// bytes, may end on different threads. Ownership: of one hold on the bytes; the memory stays
/// mapped while any block is left, whatever became of the channel and of the other process. Ending
/// one of the other side's gives it back. Blocking: never. Failure: none.
///
///     std::optional<Block> block = channel.allocate(bytes, deadline);
///     std::memcpy(block->data(), source, bytes);
class Block {
 public:
  Block() = default;
  ~Block();
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;

  /// Aligned to 64 bytes. The other process may write there at any time, if it is broken: read a
  /// value that decides something once, into a copy.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  friend class Channel;
  enum class Arena : std::uint8_t { kOurs, kTheirs };
  Block(std::shared_ptr<ChannelState> state, Arena arena, BlockReference reference,
        std::byte* data) noexcept;

  std::shared_ptr<ChannelState> state_;  // Shared with the channel and every other block.
  Arena arena_ = Arena::kOurs;
  std::uint64_t offset_ = 0;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// One side of a channel between two processes: the host, which made it, and its worker.
///
/// Thread-safety: send is for one thread at a time, and so is receive; everything else is
/// thread-safe. Ownership: of the shared memory, together with every block from it. Blocking: send,
/// receive and allocate wait up to their deadlines; nothing else waits. Failure: nothing that the
/// other side writes is believed; what cannot be ends the channel, with its name in end().
///
///     Channel host = Channel::create({});
///     spawn_with(host.descriptor());
///     if (host.send({.kind = kRun}, deadline) == ChannelStatus::kDone) ...
///     const Received reply = host.receive(deadline);
///     if (reply.status == ChannelStatus::kEnded) log(to_string(host.end()));
///
/// Each side allocates in its own arena only, from tables in its private memory; the other reads
/// there and gives blocks back through a ring. No lock and no pointer is shared, so a process that
/// dies at any instruction leaves nothing locked. A death rings no bell: somebody watches the other
/// process and calls close(kPeerDied), or waits end at their deadlines only.
class Channel {
 public:
  /// Throws std::system_error where the memory cannot be had (ENOSPC, EMFILE, ...).
  [[nodiscard]] static Channel create(const ChannelOptions& options);
  /// The worker's side. Throws std::system_error where the descriptor is not such memory, and
  /// ChannelError where what lies there is not a channel of this version.
  [[nodiscard]] static Channel adopt(Descriptor descriptor);

  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) = delete;
  /// Closes.
  ~Channel();

  /// The host's, to be passed to the worker; -1 once it is closed.
  [[nodiscard]] int descriptor() const noexcept;
  /// The memory stays mapped without it: a host that keeps none runs into no limit on descriptors,
  /// however many results of ended workers are still alive. REQUIRES: nobody passes it just now.
  void close_descriptor() noexcept;

  /// A block of our arena, an empty one for zero bytes; nothing when none fits by the deadline, or
  /// the channel ended.
  [[nodiscard]] std::optional<Block> allocate(std::size_t bytes,
                                              std::chrono::steady_clock::time_point deadline);
  /// Another hold on the same bytes.
  [[nodiscard]] Block share(const Block& block);
  /// Lends a block of ours to the other side, which gives it back when it has done with it; nothing
  /// when too many are lent. The block itself may end meanwhile.
  /// REQUIRES: it is of our arena and of this channel.
  [[nodiscard]] std::optional<BlockReference> lend(const Block& block);
  /// Takes back what was lent but never sent.
  void take_back(BlockReference reference) noexcept;
  /// The block that a message named; ending it gives it back. An empty one for zero bytes. Throws
  /// ChannelError, and ends the channel, when it does not lie in the other side's arena.
  [[nodiscard]] Block map(BlockReference reference);
  /// Whether the block is of our arena in this channel, and can be lent.
  [[nodiscard]] bool is_ours(const Block& block) const noexcept;

  [[nodiscard]] ChannelStatus send(const ChannelMessage& message,
                                   std::chrono::steady_clock::time_point deadline) noexcept;
  /// kDeadline too once `leave` is set, if there is one, and nothing is there.
  [[nodiscard]] Received receive(std::chrono::steady_clock::time_point deadline,
                                 const std::atomic<bool>* leave = nullptr) noexcept;
  /// Makes who is in receive look at its `leave`, which was set before.
  void leave_receive() noexcept;

  /// Waits for the end of the channel, and for no message, for as long as `otherwise` is true. Says
  /// whether it has ended, on either side.
  [[nodiscard]] bool wait_for_end(const std::atomic<bool>& otherwise) noexcept;
  /// Makes who waits there look at it, which was set to false before.
  void leave_wait_for_end() noexcept;

  /// Three words beside the rings. They ring no bell and outlive a death: what a worker that was
  /// killed had started is read here. Each side believes of them what it likes: a number only.
  ///
  /// The worker's: the last call that it began, and a number that grows while it gets anywhere.
  void set_started(std::uint64_t call) noexcept;
  [[nodiscard]] std::uint64_t started() const noexcept;
  void count_progress() noexcept;
  [[nodiscard]] std::uint64_t progress() const noexcept;
  /// The host's: the call that the worker should leave.
  void set_cancelled(std::uint64_t call) noexcept;
  [[nodiscard]] std::uint64_t cancelled() const noexcept;

  /// Ends the channel and every wait on it, on both sides. Blocks stay what they are.
  void close(ChannelEnd why = ChannelEnd::kClosed) noexcept;
  [[nodiscard]] ChannelEnd end() const noexcept;

  /// All of the shared memory as it is mapped here, for who must tell a device of it.
  [[nodiscard]] std::span<std::byte> memory() noexcept;
  [[nodiscard]] std::size_t reserved_bytes() const noexcept;  ///< Its bytes.
  [[nodiscard]] std::size_t used_bytes() const noexcept;      ///< Of our arena, lent ones included.
  [[nodiscard]] std::size_t mapped_bytes() const noexcept;    ///< Of the other arena, held here.
  [[nodiscard]] std::uint64_t bytes_lent() const noexcept;    ///< Ever.
  [[nodiscard]] std::uint64_t bytes_mapped() const noexcept;  ///< Ever.

 private:
  explicit Channel(std::shared_ptr<ChannelState> state) noexcept;
  std::shared_ptr<ChannelState> state_;  // Shared with every block.
};

}  // namespace streamgate::executor

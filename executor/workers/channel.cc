// SPDX-License-Identifier: Apache-2.0
//
// Both sides of the channel. Whatever is read from shared memory is copied once and then checked.
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/channel_state.h>

#include <cassert>
#include <new>
#include <utility>

namespace streamgate::executor {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

std::size_t round_up(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

std::string_view to_string(ChannelEnd end) noexcept {
  switch (end) {
    case ChannelEnd::kOpen:
      return "open";
    case ChannelEnd::kClosed:
      return "closed";
    case ChannelEnd::kPeerClosed:
      return "peer_closed";
    case ChannelEnd::kPeerDied:
      return "peer_died";
    case ChannelEnd::kBadRing:
      return "bad_ring";
    case ChannelEnd::kBadBlock:
      return "bad_block";
    case ChannelEnd::kBadReturn:
      return "bad_return";
    case ChannelEnd::kBadMessage:
      return "bad_message";
  }
  return "unknown";
}

ChannelError::ChannelError(ChannelEnd end, const std::string& what)
    : std::runtime_error("channel: " + what + " (" + std::string(to_string(end)) + ")"),
      end_(end) {}

// ---- State --------------------------------------------------------------------------------------

ChannelState::ChannelState(SharedMemory memory, Side side, std::array<std::uint64_t, 2> arena_bytes)
    : memory_(std::move(memory)),
      shared_(reinterpret_cast<SharedChannel*>(memory_.data())),
      side_(side),
      arena_bytes_(arena_bytes),
      outgoing_(shared_->messages[ours()]),
      incoming_(shared_->messages[theirs()]),
      ledger_(arena_bytes[ours()], kReturnSlots),
      returned_to_us_(shared_->returns[ours()]),
      given_back_(shared_->returns[theirs()]) {}

void ChannelState::end(ChannelEnd why) noexcept {
  ChannelEnd open = ChannelEnd::kOpen;
  end_.compare_exchange_strong(open, why, std::memory_order_acq_rel);
  shared_->closed[ours()].store(1, std::memory_order_release);  // Pairs with peer_has_closed.
  for (std::size_t side = 0; side < 2; ++side) {
    shared_->ended[side].ring_always();
    shared_->messages[side].data.ring_always();
    shared_->messages[side].space.ring_always();
    shared_->returns[side].data.ring_always();
  }
}

void ChannelState::collect_returns() noexcept {
  for (;;) {
    const auto [status, offset] = returned_to_us_.pop();
    if (status == RingStatus::kNot) return;
    if (status == RingStatus::kCorrupt) return end(ChannelEnd::kBadRing);
    if (!ledger_.returned(offset)) return end(ChannelEnd::kBadReturn);
  }
}

void ChannelState::give_back(std::uint64_t offset, std::size_t bytes) noexcept {
  mapped_.fetch_sub(bytes, std::memory_order_relaxed);  // A figure, nothing hangs on it.
  const std::lock_guard lock(giving_mutex_);
  // The ring has room for every loan there can be, so a full one is a count that cannot be.
  if (given_back_.push(offset) != RingStatus::kDone) end(ChannelEnd::kBadRing);
}

void ChannelState::drop(std::uint64_t offset) noexcept {
  {
    const std::lock_guard lock(ledger_mutex_);
    ledger_.drop(offset);
  }
  // A thread of ours may wait for space in our arena.
  shared_->returns[ours()].data.ring();
}

// ---- Block --------------------------------------------------------------------------------------

Block::Block(std::shared_ptr<ChannelState> state, Arena arena, BlockReference reference,
             std::byte* data) noexcept
    : state_(std::move(state)),
      arena_(arena),
      offset_(reference.offset),
      data_(data),
      bytes_(reference.bytes) {}

Block::Block(Block&& other) noexcept
    : state_(std::move(other.state_)),
      arena_(other.arena_),
      offset_(other.offset_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Block& Block::operator=(Block&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(arena_, other.arena_);
  std::swap(offset_, other.offset_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Block::~Block() {
  if (!state_) return;
  if (arena_ == Arena::kOurs) {
    state_->drop(offset_);
  } else {
    state_->give_back(offset_, bytes_);
  }
}

// ---- Channel ------------------------------------------------------------------------------------

Channel Channel::create(const ChannelOptions& options) {
  const std::array<std::uint64_t, 2> arenas{round_up(options.host_arena_bytes),
                                            round_up(options.worker_arena_bytes)};
  SharedMemory memory = SharedMemory::create(kArenasBegin + arenas[0] + arenas[1]);
  auto* const shared = new (memory.data()) SharedChannel{};
  shared->arena_bytes = arenas;
  shared->magic = kChannelMagic;
  return Channel(std::make_shared<ChannelState>(std::move(memory), Side::kHost, arenas));
}

Channel Channel::adopt(Descriptor descriptor) {
  SharedMemory memory = SharedMemory::adopt(std::move(descriptor));
  if (memory.bytes() < kArenasBegin) {
    throw ChannelError(ChannelEnd::kBadMessage, "the memory is too small for one");
  }
  const auto* const shared = reinterpret_cast<const SharedChannel*>(memory.data());
  const std::array<std::uint64_t, 2> arenas = shared->arena_bytes;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // What is checked is the copy.
  const std::uint64_t left = memory.bytes() - kArenasBegin;
  if (shared->magic != kChannelMagic || arenas[0] > left || arenas[1] != left - arenas[0] ||
      arenas[0] % kPage != 0) {
    throw ChannelError(ChannelEnd::kBadMessage, "what lies in the memory is not one");
  }
  return Channel(std::make_shared<ChannelState>(std::move(memory), Side::kWorker, arenas));
}

Channel::Channel(std::shared_ptr<ChannelState> state) noexcept : state_(std::move(state)) {}
Channel::Channel(Channel&&) noexcept = default;
Channel::~Channel() {
  if (state_) close();
}

int Channel::descriptor() const noexcept { return state_->memory_.descriptor(); }

void Channel::close_descriptor() noexcept { state_->memory_.close_descriptor(); }

std::optional<Block> Channel::allocate(std::size_t bytes, TimePoint deadline) {
  if (bytes == 0) return Block();
  std::optional<std::uint64_t> offset;
  const auto found_or_hopeless = [&] {
    if (end() == ChannelEnd::kOpen && state_->peer_has_closed()) {
      state_->end(ChannelEnd::kPeerClosed);  // Nobody will give anything back any more.
    }
    if (end() != ChannelEnd::kOpen) return true;
    const std::lock_guard lock(state_->ledger_mutex_);
    state_->collect_returns();
    if (end() != ChannelEnd::kOpen) return true;  // What came back cannot be.
    offset = state_->ledger_.allocate(bytes);
    return offset.has_value();
  };
  if (bytes > state_->arena_bytes_[state_->ours()]) return std::nullopt;
  if (!found_or_hopeless() &&
      !state_->shared_->returns[state_->ours()].data.wait(deadline, found_or_hopeless)) {
    return std::nullopt;
  }
  if (!offset) return std::nullopt;
  return Block(state_, Block::Arena::kOurs, {.offset = *offset, .bytes = bytes},
               state_->arena(state_->ours()) + *offset);
}

Block Channel::share(const Block& block) {
  assert(is_ours(block));
  const std::lock_guard lock(state_->ledger_mutex_);
  state_->ledger_.hold(block.offset_);
  return Block(state_, Block::Arena::kOurs, {.offset = block.offset_, .bytes = block.bytes_},
               block.data_);
}

std::optional<BlockReference> Channel::lend(const Block& block) {
  assert(is_ours(block));
  const std::lock_guard lock(state_->ledger_mutex_);
  state_->collect_returns();
  if (!state_->ledger_.lend(block.offset_)) return std::nullopt;
  state_->lent_ever_.fetch_add(block.bytes_, std::memory_order_relaxed);  // A figure.
  return BlockReference{.offset = block.offset_, .bytes = block.bytes_};
}

void Channel::take_back(BlockReference reference) noexcept {
  {
    const std::lock_guard lock(state_->ledger_mutex_);
    // Lent by us, so there is such a loan, unless the other side gave back what it never saw.
    if (!state_->ledger_.returned(reference.offset)) state_->end(ChannelEnd::kBadReturn);
  }
  state_->shared_->returns[state_->ours()].data.ring();
}

Block Channel::map(BlockReference reference) {
  if (reference.bytes == 0) return {};
  const std::uint64_t arena_bytes = state_->arena_bytes_[state_->theirs()];
  if (reference.bytes > arena_bytes || reference.offset > arena_bytes - reference.bytes ||
      reference.offset % ArenaLedger::kAlignment != 0) {
    state_->end(ChannelEnd::kBadBlock);
    throw ChannelError(ChannelEnd::kBadBlock, "a block of " + std::to_string(reference.bytes) +
                                                  " bytes at " + std::to_string(reference.offset) +
                                                  " does not lie in an arena of " +
                                                  std::to_string(arena_bytes));
  }
  // Figures; nothing hangs on their order.
  state_->mapped_.fetch_add(reference.bytes, std::memory_order_relaxed);
  state_->mapped_ever_.fetch_add(reference.bytes, std::memory_order_relaxed);
  return Block(state_, Block::Arena::kTheirs, reference,
               state_->arena(state_->theirs()) + reference.offset);
}

bool Channel::is_ours(const Block& block) const noexcept {
  return block.state_ == state_ && block.arena_ == Block::Arena::kOurs;
}

ChannelStatus Channel::send(const ChannelMessage& message, TimePoint deadline) noexcept {
  RingStatus status = RingStatus::kNot;
  const auto sent_or_ended = [&]() noexcept {
    if (end() != ChannelEnd::kOpen) return true;
    if (state_->peer_has_closed()) {
      state_->end(ChannelEnd::kPeerClosed);
      return true;
    }
    status = state_->outgoing_.push(message);
    if (status == RingStatus::kCorrupt) state_->end(ChannelEnd::kBadRing);
    return status != RingStatus::kNot;
  };
  if (!sent_or_ended() &&
      !state_->shared_->messages[state_->ours()].space.wait(deadline, sent_or_ended)) {
    return ChannelStatus::kDeadline;
  }
  return status == RingStatus::kDone ? ChannelStatus::kDone : ChannelStatus::kEnded;
}

Received Channel::receive(TimePoint deadline, const std::atomic<bool>* leave) noexcept {
  Popped<ChannelMessage> popped;
  bool left = false;
  const auto received_or_ended = [&]() noexcept {
    // Of a peer that died or closed, what it had sent is still received.
    const ChannelEnd ended = end();
    if (ended != ChannelEnd::kOpen && ended != ChannelEnd::kPeerDied &&
        ended != ChannelEnd::kPeerClosed) {
      return true;
    }
    const bool closed = state_->peer_has_closed();  // Before the pop: nothing is sent after it.
    popped = state_->incoming_.pop();
    if (popped.status == RingStatus::kCorrupt) state_->end(ChannelEnd::kBadRing);
    if (popped.status != RingStatus::kNot) return true;
    if (closed) state_->end(ChannelEnd::kPeerClosed);
    if (closed || ended != ChannelEnd::kOpen) return true;
    left = leave != nullptr && leave->load(std::memory_order_seq_cst);  // Pairs with leave_receive.
    return left;
  };
  if (!received_or_ended() &&
      !state_->shared_->messages[state_->theirs()].data.wait(deadline, received_or_ended)) {
    return {.status = ChannelStatus::kDeadline, .message = {}};
  }
  if (left) return {.status = ChannelStatus::kDeadline, .message = {}};
  if (popped.status != RingStatus::kDone) return {.status = ChannelStatus::kEnded, .message = {}};
  return {.status = ChannelStatus::kDone, .message = popped.value};
}

void Channel::leave_receive() noexcept {
  state_->shared_->messages[state_->theirs()].data.ring_always();
}

bool Channel::wait_for_end(const std::atomic<bool>& otherwise) noexcept {
  const auto ended = [&]() noexcept {
    return end() != ChannelEnd::kOpen || state_->peer_has_closed();
  };
  static_cast<void>(state_->shared_->ended[state_->ours()].wait(TimePoint::max(), [&]() noexcept {
    return ended() || !otherwise.load(std::memory_order_seq_cst);  // Pairs with leave_wait_for_end.
  }));
  return ended();
}

void Channel::leave_wait_for_end() noexcept {
  state_->shared_->ended[state_->ours()].ring_always();
}

// Release, and acquire in the readers: who reads the word sees what was done before it was written.
void Channel::set_started(std::uint64_t call) noexcept {
  state_->shared_->started.store(call, std::memory_order_release);
}
std::uint64_t Channel::started() const noexcept {
  return state_->shared_->started.load(std::memory_order_acquire);
}
void Channel::count_progress() noexcept {
  state_->shared_->progress.fetch_add(1, std::memory_order_release);
}
std::uint64_t Channel::progress() const noexcept {
  return state_->shared_->progress.load(std::memory_order_acquire);
}
void Channel::set_cancelled(std::uint64_t call) noexcept {
  state_->shared_->cancelled.store(call, std::memory_order_release);
}
std::uint64_t Channel::cancelled() const noexcept {
  return state_->shared_->cancelled.load(std::memory_order_acquire);
}

void Channel::close(ChannelEnd why) noexcept {
  assert(why != ChannelEnd::kOpen);
  state_->end(why);
}

ChannelEnd Channel::end() const noexcept { return state_->end_.load(std::memory_order_acquire); }

std::span<std::byte> Channel::memory() noexcept {
  return {state_->memory_.data(), state_->memory_.bytes()};
}

std::size_t Channel::reserved_bytes() const noexcept { return state_->memory_.bytes(); }

std::size_t Channel::used_bytes() const noexcept {
  const std::lock_guard lock(state_->ledger_mutex_);
  state_->collect_returns();
  return state_->ledger_.used_bytes();
}

std::size_t Channel::mapped_bytes() const noexcept {
  return state_->mapped_.load(std::memory_order_relaxed);  // A figure, nothing hangs on it.
}
std::uint64_t Channel::bytes_lent() const noexcept {
  return state_->lent_ever_.load(std::memory_order_relaxed);
}
std::uint64_t Channel::bytes_mapped() const noexcept {
  return state_->mapped_ever_.load(std::memory_order_relaxed);
}

}  // namespace streamgate::executor

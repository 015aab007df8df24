// SPDX-License-Identifier: Apache-2.0
//
// The part of libtorch's stand-in that differs from tier to tier: which stream a thread has, and
// how it comes by one.
#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "libtorch.h"

namespace streamgate::testing::stand_in {
namespace {

using at::mps::MPSStream;

#if STREAMGATE_MPS_TIER != 1
thread_local MPSStream* current = nullptr;
std::array<std::atomic<std::thread::id>, kStreams> owners{};
std::array<std::atomic<std::thread::id>, kStreams> last_owners{};
std::atomic<std::size_t> turn{0};

/// A stream other than the default one, in turn: the 33rd is the first again.
MPSStream& next_in_turn() {
  std::vector<MPSStream>& streams = World::instance().streams;
  return streams[1 + turn++ % (streams.size() - 1)];
}

/// Notices two owners. The default stream is everybody's.
void set_current(MPSStream* stream) {
  if (current != nullptr && current != &World::instance().streams.front()) {
    owners[current->metal().index()] = std::thread::id{};
  }
  if (stream != nullptr && stream != &World::instance().streams.front()) {
    const std::thread::id me = std::this_thread::get_id();
    const std::size_t index = stream->metal().index();
    std::thread::id nobody{};
    if (!owners[index].compare_exchange_strong(nobody, me)) {
      die("a stream is current on two threads");
    }
    // The same thread may come back to what it is in the middle of.
    if (last_owners[index].exchange(me) != me && stream->metal().busy()) {
      die("a stream has a new owner before the device was done with it");
    }
  }
  current = stream;
}
#endif

#if STREAMGATE_MPS_TIER >= 3
std::atomic<std::size_t> streams_given_to_threads{0};
#endif
#if STREAMGATE_MPS_TIER == 4
std::mutex slots_mutex;
std::array<bool, kStreams> slots{true};  ///< Slot 0 is that of the thread that initialised.
std::size_t acquired = 0;
#endif

}  // namespace

Counts pool_counts() {
  Counts counts;
#if STREAMGATE_MPS_TIER >= 3
  counts.streams_given_to_threads = streams_given_to_threads;
#endif
#if STREAMGATE_MPS_TIER == 4
  const std::lock_guard lock(slots_mutex);
  counts.streams_acquired = acquired;
#endif
  return counts;
}

std::int64_t take_stream_from_pool() {
#if STREAMGATE_MPS_TIER == 1
  return 0;
#elif STREAMGATE_MPS_TIER == 4
  return at::mps::MPSStreamPool::acquireStream()->unwrap().id();
#else
  return at::mps::getStreamFromPool()->unwrap().id();
#endif
}

void release_stream_to_pool([[maybe_unused]] std::int64_t stream) {
#if STREAMGATE_MPS_TIER == 4
  at::mps::MPSStreamPool::releaseStreamSlot(static_cast<std::size_t>(stream));
#endif
}

}  // namespace streamgate::testing::stand_in

namespace stand_in = streamgate::testing::stand_in;

namespace at::mps {

#if STREAMGATE_MPS_TIER == 1

MPSStream* getCurrentMPSStream() { return getDefaultMPSStream(); }

#elif STREAMGATE_MPS_TIER == 2

MPSStream* getStreamFromPool() {
  stand_in::require_initialised();
  return &stand_in::next_in_turn();
}

void setCurrentMPSStream(MPSStream* stream) {
  stand_in::require_initialised();
  stand_in::set_current(stream);
}

MPSStream* getCurrentMPSStream() {
  stand_in::require_initialised();
  return stand_in::current == nullptr ? getDefaultMPSStream() : stand_in::current;
}

#else  // a fork

MPSStream* getStreamFromPool() {
  stand_in::require_initialised();
  return &stand_in::next_in_turn();
}

void setCurrentMPSStream(MPSStream* stream) {
  stand_in::require_initialised();
  if (stream == nullptr) stand_in::die("only upstream knows a stream that is none");
  stand_in::set_current(stream);
}

MPSStream* getCurrentMPSStream() {
  stand_in::require_initialised();
  if (stand_in::current == nullptr) {
    ++stand_in::streams_given_to_threads;
    stand_in::current = getStreamFromPool();
  }
  return stand_in::current;
}

#if STREAMGATE_MPS_TIER == 3

MPSStreamPool& MPSStreamPool::instance() {
  static MPSStreamPool pool;
  return pool;
}
bool MPSStreamPool::isPoolAlive() { return true; }
MPSStream* MPSStreamPool::getStream(std::size_t index) {
  stand_in::require_initialised();
  return &stand_in::World::instance().streams.at(index);
}
void MPSStreamPool::releaseCurrentThreadSlot() { stand_in::require_initialised(); }

#else  // fork B

MPSStream* MPSStreamPool::acquireStream() {
  stand_in::require_initialised();
  const char* const patience = std::getenv("MPS_STREAM_POOL_WAIT_TIMEOUT_MS");
  const std::lock_guard lock(stand_in::slots_mutex);
  for (std::size_t slot = 0; slot < stand_in::slots.size(); ++slot) {
    if (stand_in::slots[slot]) continue;
    stand_in::slots[slot] = true;
    ++stand_in::acquired;
    return &stand_in::World::instance().streams[slot];
  }
  if (patience == nullptr || std::string_view(patience) != "0") {
    stand_in::die("a thread would wait for a slot, perhaps for ever");
  }
  throw std::runtime_error("all slots are in use");
}

void MPSStreamPool::releaseStreamSlot(std::size_t slot) {
  stand_in::require_initialised();
  const std::lock_guard lock(stand_in::slots_mutex);
  if (slot == 0 || !stand_in::slots.at(slot)) stand_in::die("a slot was released by a stranger");
  stand_in::slots[slot] = false;
  --stand_in::acquired;
}

#endif
#endif

}  // namespace at::mps

// SPDX-License-Identifier: Apache-2.0
//
// libtorch's MPS interface as the MPS backend uses it: what differs from tier to tier, and nothing
// else. A part of backends/mps.cc, which alone includes it, in a header of its own for its subject:
// it decides nothing.
#pragma once

#if STREAMGATE_MPS_TIER != 0

#include <ATen/detail/MPSHooksInterface.h>
#include <dispatch/dispatch.h>

#include <cstddef>
#include <utility>
#if STREAMGATE_MPS_TIER != 1
#include <ATen/mps/MPSStream.h>
#endif

/// REQUIRES of command_buffer and commit: called inside the stream's queue.
namespace streamgate::executor::libtorch {

inline const auto& hooks() { return at::detail::getMPSHooks(); }

/// initMPS until 2.4, init since.
template <typename Hooks>
void initialise(const Hooks& hooks) {
  if constexpr (requires { hooks.init(); }) {
    hooks.init();
  } else {
    hooks.initMPS();
  }
}

#if STREAMGATE_MPS_TIER == 1  // single

/// The only one there is; it has no object of its own here.
struct Stream {};
inline constexpr std::size_t kStreams = 1;
inline constexpr bool kFirstIsDefault = true;

inline Stream* default_stream() {
  static Stream stream;
  return &stream;
}
inline dispatch_queue_t queue(Stream&) {
  return static_cast<dispatch_queue_t>(hooks().getDispatchQueue());
}
inline void* command_buffer(Stream&) { return hooks().getCommandBuffer(); }
inline void commit(Stream&) { hooks().commitStream(); }
template <typename IsTaken>
Stream* open(std::size_t, const IsTaken&) {
  return nullptr;
}
inline constexpr bool kGivesBack = false;
inline void give_back(Stream&) {}
inline Stream* make_current(Stream&) { return nullptr; }
inline void make_current_again(Stream*) {}

#else  // a pool

using Stream = at::mps::MPSStream;
inline constexpr std::size_t kStreams = 32;

inline Stream* default_stream() { return at::mps::getDefaultMPSStream(); }
inline dispatch_queue_t queue(Stream& stream) {
  return static_cast<dispatch_queue_t>(stream.queue());
}
inline void* command_buffer(Stream& stream) {
  stream.endKernelCoalescing();
  return stream.commandBuffer();
}
inline void commit(Stream& stream) { stream.synchronize(at::mps::SyncType::COMMIT); }

#if STREAMGATE_MPS_TIER == 2  // upstream pool

/// Every thread that no executor leads uses the default stream, so it is not for leasing.
inline constexpr bool kFirstIsDefault = false;

/// Null: none is left. Round robin in libtorch: past 32 it gives the first one again, without a
/// word, so is_taken has the last one. Twice round, as other threads may take turns in between.
template <typename IsTaken>
Stream* open(std::size_t, const IsTaken& is_taken) {
  for (std::size_t i = 0; i < 2 * kStreams; ++i) {
    Stream* const stream = at::mps::getStreamFromPool();
    if (stream != default_stream() && !is_taken(*stream)) return stream;
  }
  return nullptr;
}
inline constexpr bool kGivesBack = false;
inline void give_back(Stream&) {}

inline Stream* make_current(Stream& stream) {
  Stream* const before = at::mps::getCurrentMPSStream();
  at::mps::setCurrentMPSStream(&stream);
  return before;
}
inline void make_current_again(Stream* before) {
  at::mps::setCurrentMPSStream(before == default_stream() ? nullptr : before);
}

#else  // a fork

/// Stream 0 of the fork is that of the first thread that uses MPS (seed 004), which is the one that
/// constructs the executor; so is stream 0 of the executor (StreamPool).
inline constexpr bool kFirstIsDefault = true;

#if STREAMGATE_MPS_TIER == 3  // fork A

template <typename Pool>
Stream* stream_of(std::size_t index) {
  if constexpr (requires { Pool::instance().getStream(index); }) {
    return Pool::instance().getStream(index);
  } else {
    return Pool::getStream(index);
  }
}
template <typename IsTaken>
Stream* open(std::size_t index, const IsTaken& is_taken) {
  Stream* const stream = stream_of<at::mps::MPSStreamPool>(index);
  return is_taken(*stream) ? nullptr : stream;
}
inline constexpr bool kGivesBack = false;
inline void give_back(Stream&) {}

#else  // fork B

template <typename Pool>
Stream* acquire() {
  if constexpr (requires { Pool::instance().acquireStream(); }) {
    return Pool::instance().acquireStream();
  } else {
    return Pool::acquireStream();
  }
}
template <typename Pool>
void release(Stream& stream) {
  if constexpr (requires { Pool::instance().releaseStreamSlot(stream.unwrap().id()); }) {
    Pool::instance().releaseStreamSlot(stream.unwrap().id());
  } else {
    Pool::releaseStreamSlot(stream.unwrap().id());
  }
}
/// Throws when others have all slots. Should the default stream come, it is kept, so that it does
/// not come again: stream 0 of ours stands for it.
template <typename IsTaken>
Stream* open(std::size_t, const IsTaken& is_taken) {
  for (std::size_t i = 0; i < 2; ++i) {
    Stream* const stream = acquire<at::mps::MPSStreamPool>();
    if (stream != default_stream()) return is_taken(*stream) ? nullptr : stream;
  }
  return nullptr;
}
/// So that its slot is free for threads that no executor leads.
inline constexpr bool kGivesBack = true;
inline void give_back(Stream& stream) {
  if (&stream != default_stream()) release<at::mps::MPSStreamPool>(stream);
}

#endif

/// What a task of ours made current on this thread. Asking the fork would give the thread a stream
/// of its own for the rest of its life, and the 32nd thread none or a shared one (facts.md 1.2).
inline thread_local Stream* entered = nullptr;

inline Stream* make_current(Stream& stream) {
  at::mps::setCurrentMPSStream(&stream);
  return std::exchange(entered, &stream);
}
/// Outside of tasks it is the default stream, as upstream has it for every thread.
inline void make_current_again(Stream* before) {
  entered = before;
  at::mps::setCurrentMPSStream(before == nullptr ? default_stream() : before);
}

#endif
#endif

}  // namespace streamgate::executor::libtorch

#endif

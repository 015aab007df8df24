// SPDX-License-Identifier: Apache-2.0
//
// Where a worker's tensors lie: while a call runs, those that are large enough lie in the worker's
// arena of the channel, so that a result is there already when it is lent to the host. What does
// not fit lies in ordinary memory, and is copied if it turns out as a result.
#pragma once

#include <streamgate/executor/workers/channel.h>

#include <cstddef>

namespace streamgate::executor {

/// Tensors of fewer bytes lie in ordinary memory: their elements travel in the frame.
inline constexpr std::size_t kSmallestInArena = std::size_t{16} * 1024;

/// While one lives, libtorch's CPU memory comes from the channel's arena, on every thread.
///
/// Thread-safety: one at a time in a process. Ownership: refers to the channel, which must outlive
/// every tensor that was made meanwhile; the allocator itself is libtorch's from the first time on,
/// and stays. Blocking: never. Failure: none; without room, memory is ordinary.
///
///     const ArenaAllocation in_arena(channel);
///     at::Tensor result = at::linear(input, weight);   // lent, not copied, by encode
class ArenaAllocation {
 public:
  explicit ArenaAllocation(Channel& channel);
  ~ArenaAllocation();
  ArenaAllocation(const ArenaAllocation&) = delete;
  ArenaAllocation& operator=(const ArenaAllocation&) = delete;
};

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// Both sides of a channel in one process, each with a mapping of its own as two processes have.
#pragma once

#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/internal/descriptor.h>

#include <fcntl.h>

#include <chrono>
#include <cstddef>

#include "../support/event.h"

namespace streamgate::testing {

/// For what must happen.
inline std::chrono::steady_clock::time_point guard() {
  return std::chrono::steady_clock::now() + kGuard;
}
/// For what must not.
inline std::chrono::steady_clock::time_point soon() {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(10);
}

struct ChannelPair {
  explicit ChannelPair(
      const executor::ChannelOptions& options = {.host_arena_bytes = std::size_t{1} << 20,
                                                 .worker_arena_bytes = std::size_t{1} << 20})
      : host(executor::Channel::create(options)),
        worker(executor::Channel::adopt(
            executor::Descriptor(fcntl(host.descriptor(), F_DUPFD_CLOEXEC, 3)))) {}
  executor::Channel host;
  executor::Channel worker;
};

}  // namespace streamgate::testing

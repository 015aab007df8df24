// SPDX-License-Identifier: Apache-2.0
//
// How an executor is asked to come to rest, and what it says of that.
#pragma once

#include <cstddef>
#include <cstdint>

namespace streamgate::executor {

/// What becomes of the tasks that are there when a drain begins. New ones are rejected either way.
enum class Drain : std::uint8_t {
  kFinish,        ///< Waiting and running tasks run to their end.
  kCancelQueued,  ///< Waiting tasks are cancelled, running ones run to their end.
  kCancelAll      ///< As kCancelQueued, and running tasks are asked to leave.
};

struct [[nodiscard]] DrainReport {
  bool drained = false;     ///< Everything has ended; otherwise the deadline came first.
  std::size_t queued = 0;   ///< Still waiting at the deadline.
  std::size_t running = 0;  ///< Still running then (leased streams).
};

}  // namespace streamgate::executor

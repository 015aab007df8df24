// SPDX-License-Identifier: Apache-2.0
//
// One worker as its host sees it: process, channel and the thread that listens to it, from start to
// end. The supervisor makes and ends it; the pool gives it calls.
#pragma once

#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/receiver_turn.h>
#include <streamgate/executor/workers/worker_process.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace streamgate::executor {

class WorkerCall;

/// How and why a worker ended.
struct WorkerEnd {
  WorkerExit cause = WorkerExit::kStopped;
  ProcessEnd process{};
  std::string evidence{};  ///< For people: which worker, how, and its last words.
};

/// Thread-safety: as said at each part. Ownership: shared by the supervisor, its listening thread,
/// and whoever just gives it a call. Blocking: never. Failure: none of its own.
struct Worker {
  using TimePoint = std::chrono::steady_clock::time_point;

  Worker(std::uint64_t its_number, Channel its_channel)
      : number(its_number), channel(std::move(its_channel)) {}

  const std::uint64_t number;  ///< From 1; never used again.
  Channel channel;
  ReceiverTurn turn{channel};  ///< From the time that it is ready.

  // ---- the supervisor's thread's --------------------------------------------------------------
  std::optional<WorkerProcess> process;
  std::thread listener;
  TimePoint started_at{};
  TimePoint memory_read_at{};

  // ---- guarded by the supervisor's mutex ------------------------------------------------------
  struct Condemned {
    WorkerExit cause;
    std::string why;
    TimePoint since;
    int signalled = 0;  ///< The last signal of the ladder that was sent.
  };
  std::optional<Condemned> condemned;
  std::optional<WorkerEnd> end;  ///< Set when the process was reaped.
  bool ready = false;
  bool listened_out = false;  ///< The thread has nothing more to do but end.

  // ---- written by the supervisor's thread, figures for everybody -------------------------------
  std::atomic<std::size_t> memory{0};  ///< At the last look.
  std::atomic<std::size_t> first_memory{0};

  // ---- guarded by the pool's mutex ------------------------------------------------------------
  /// Why a worker was told to leave its call.
  enum class Leave : std::uint8_t { kNo, kCancelled, kLate, kHung };
  struct Assignment {
    WorkerCall* call = nullptr;
    bool sent = false;  ///< False: the thread that encodes it has it, and decides about it.
    TimePoint run_until = TimePoint::max();
    TimePoint hung_at = TimePoint::max();  ///< If its progress is still `progress` then.
    std::uint64_t progress = 0;
    Leave leave = Leave::kNo;
    TimePoint kill_at = TimePoint::max();  ///< If it has not left by then.
  } assignment;
  bool gone = false;  ///< Takes no more calls.
  std::uint64_t calls = 0;
  TimePoint idle_since{};
};

}  // namespace streamgate::executor

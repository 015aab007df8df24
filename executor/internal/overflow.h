// SPDX-License-Identifier: Apache-2.0
//
// The other way that a call can take, as the core sees it: asked when a call comes, given the call,
// told what becomes of tasks here. Which processes are behind it, it does not say; a build without
// them has a core without it.
#pragma once

#include <streamgate/executor/outcome.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/task.h>
#include <streamgate/policies/config.h>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace streamgate::executor {

/// How things stand here when a call comes.
struct HereNow {
  bool room = false;        ///< A permit is free, and nobody waits for it.
  std::size_t waiting = 0;  ///< Tasks in the queue.
  std::size_t width = 1;    ///< Permits that such calls share.
};

/// Where calls come from, and come back to. Called on any thread, in the end once for each call
/// that was sent.
class OverflowHome {
 public:
  /// The call has ended; its value or error is in the node.
  virtual void came_back(TaskNode& node, Outcome outcome) noexcept = 0;
  /// The call cannot be had elsewhere, and nothing of it was begun: it is to run here.
  virtual void not_taken(TaskNode& node) noexcept = 0;

 protected:
  ~OverflowHome() = default;
};

enum class Way : std::uint8_t {
  kHere,
  kAway,
  kRefused  ///< Nowhere: calls like it have killed workers before.
};

/// Thread-safety: thread-safe. Ownership: of what is behind it, not of calls; its home outlives it.
/// Blocking: send, as said there; stop, and the destructor, which is as stop. Failure: as said in
/// OverflowHome.
class Overflow {
 public:
  virtual ~Overflow() = default;

  [[nodiscard]] virtual Way judge(TaskNode& node, const HereNow& here) noexcept = 0;
  /// For a call by run, whose caller waits, it waits for the answer if it can. REQUIRES: judge said
  /// kAway, and the node is not in the queue. It may be gone afterwards.
  virtual void send(TaskNode& node) noexcept = 0;
  /// A task ended well here. `full`: all permits of its kind were in use then.
  virtual void ran_here(const TaskNode& node, Clock::time_point now,
                        std::chrono::nanoseconds service, bool full) noexcept = 0;
  /// Calls that are away end soon, and no other is taken. Blocks until workers have ended.
  virtual void stop() noexcept = 0;

  /// Takes over the live keys.
  virtual void apply(const policies::Config::Overflow& config) = 0;
  virtual void add_to(Snapshot& snapshot) const = 0;
};

}  // namespace streamgate::executor

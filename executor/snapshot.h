// SPDX-License-Identifier: Apache-2.0
//
// What an executor knows about itself at one moment, as plain values: the one thing that metrics,
// doctor and status pages read. No behaviour, and nothing of any exporter.
#pragma once

#include <streamgate/executor/outcome.h>
#include <streamgate/policies/limit_policy.h>
#include <streamgate/policies/op_class.h>
#include <streamgate/policies/overflow_policy.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// Upper bounds of the duration histograms: 1-2.5-5 steps from 1 us to 100 s. A duration counts in
/// the first bucket whose bound is not below it; the last bucket, one past the bounds, is infinite.
inline constexpr std::size_t kDurationBounds = 25;
[[nodiscard]] const std::array<std::chrono::nanoseconds, kDurationBounds>&
duration_bounds() noexcept;

/// Counts of durations by bucket (not cumulative) and their sum.
struct DurationHistogram {
  std::array<std::uint64_t, kDurationBounds + 1> counts{};
  std::chrono::nanoseconds sum{0};
};

/// Tasks of one lane, that is of one set of op classes (policies::OpClassSet::from_lane).
struct LaneSnapshot {
  std::array<std::uint64_t, kOutcomes> outcomes{};  ///< Ended tasks, by index_of(Outcome).
  std::size_t queued = 0;
  DurationHistogram wait;  ///< Submission to start, of tasks that ran.
  DurationHistogram run;   ///< Start to the device's completion.
};

/// The gate of one op class.
struct GateSnapshot {
  std::size_t in_use = 0;
  std::size_t limit = 0;
  std::size_t ceiling = 0;
  std::string policy;
  bool enforced = true;    ///< Whether the policy is in charge, or only watches (shadow).
  std::size_t wanted = 0;  ///< The limit that the policy asks for; differs from `limit` in shadow.
  std::uint64_t windows = 0;  ///< Windows of completions that the policy has judged.
  struct Knee {
    std::size_t limit = 0;
    std::size_t low = 0;
    std::size_t high = 0;
    double per_second = 0;            ///< Good completions at the knee.
    std::chrono::nanoseconds age{0};  ///< Since it was found, or found again.
  };
  std::optional<Knee> knee{};  ///< Where throughput stops growing, once the policy has found out.
  std::array<std::uint64_t, policies::kLimitReasons> decision_counts{};  ///< By LimitReason.
  /// The policy's last decisions, the oldest first; times are Clock's, since its epoch.
  std::vector<policies::LimitDecision> decisions{};
};

/// What became of the limits file of the config.
enum class LimitsState : std::uint8_t {
  kNone,     ///< The config names none.
  kUsed,     ///< They were measured here, and are in force.
  kMismatch  ///< They were measured elsewhere: kernel, graph and exclusive run one at a time.
};
inline constexpr std::array<LimitsState, 3> kAllLimitsStates = {
    LimitsState::kNone, LimitsState::kUsed, LimitsState::kMismatch};

/// "none", "used" or "mismatch": the word in metrics and reports.
[[nodiscard]] constexpr std::string_view to_string(LimitsState state) noexcept {
  return state == LimitsState::kNone ? "none" : state == LimitsState::kUsed ? "used" : "mismatch";
}

/// Where a worker process is in its life.
enum class WorkerState : std::uint8_t {
  kStarting,  ///< Started, and not ready yet.
  kIdle,
  kBusy,
  kEnding  ///< Told to end, or being killed.
};
inline constexpr std::array<WorkerState, 4> kAllWorkerStates = {
    WorkerState::kStarting, WorkerState::kIdle, WorkerState::kBusy, WorkerState::kEnding};

/// "starting", "idle", "busy" or "ending".
[[nodiscard]] std::string_view to_string(WorkerState state) noexcept;

/// Why a worker process ended.
enum class WorkerExit : std::uint8_t {
  kStopped,      ///< The executor ended.
  kIdle,         ///< There was nothing to do for it.
  kRecycled,     ///< It had done its number of calls, or its memory had grown.
  kExited,       ///< By itself, with an exit code.
  kSignalled,    ///< A signal that was not ours.
  kHung,         ///< Killed: a call passed its time, or nothing moved.
  kCancelled,    ///< Killed: a cancelled call did not end.
  kCorrupt,      ///< Killed: what it wrote cannot be.
  kStartFailed,  ///< It was never ready.
};
inline constexpr std::array<WorkerExit, 9> kAllWorkerExits = {
    WorkerExit::kStopped,   WorkerExit::kIdle,      WorkerExit::kRecycled,
    WorkerExit::kExited,    WorkerExit::kSignalled, WorkerExit::kHung,
    WorkerExit::kCancelled, WorkerExit::kCorrupt,   WorkerExit::kStartFailed};

/// "stopped", "idle", "recycled", "exited", "signalled", "hung", "cancelled", "corrupt" or
/// "start_failed".
[[nodiscard]] std::string_view to_string(WorkerExit exit) noexcept;

/// The worker processes of an executor, and what goes between them and us. All zero without any.
struct WorkersSnapshot {
  std::array<std::size_t, kAllWorkerStates.size()> states{};
  std::uint64_t starts = 0;  ///< Processes started.
  std::array<std::uint64_t, kAllWorkerExits.size()> exits{};
  DurationHistogram start_time;      ///< From the start of a process to its being ready.
  bool breaker_open = false;         ///< Too many died too fast: none is started for a while.
  std::size_t calls_queued = 0;      ///< Calls that wait for a worker.
  std::uint64_t calls_started = 0;   ///< Times that a worker was given a call.
  std::uint64_t calls_requeued = 0;  ///< Of these, times that it had not begun it, and died.
  std::uint64_t calls_retried = 0;   ///< Of these, times that it died with it, and it was repeated.
  std::size_t memory_bytes = 0;      ///< That the workers share with nobody.
  std::size_t shared_reserved_bytes = 0;
  std::size_t shared_used_bytes = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
};

/// Calls and the two ways that they can take. Empty without overflow.
struct OverflowSnapshot {
  std::string policy{};
  std::array<std::uint64_t, policies::kOverflowReasons> decisions{};  ///< By OverflowReason.
  std::array<std::uint64_t, kOutcomes> outcomes{};  ///< Of calls that went to a worker.
  std::uint64_t returned = 0;  ///< Calls that no worker took, and that ran here after all.
  std::size_t away = 0;        ///< Calls that are with a worker, or wait for one.
  std::optional<policies::OverflowMeasurement> measured{};  ///< As measured, once it has been.
  struct Quarantined {
    std::string operation{};
    std::size_t killed = 0;  ///< Workers.
    std::string evidence{};  ///< Of the last one's end.
  };
  std::vector<Quarantined> quarantined{};  ///< The latest calls that have killed workers.
};

/// Calls on a device that has graphs, and the graphs that were captured of them. All zero
/// elsewhere.
struct GraphsSnapshot {
  std::uint64_t replays = 0;
  std::uint64_t eager = 0;     ///< Calls that ran without a graph.
  std::uint64_t captures = 0;  ///< That succeeded.
  std::uint64_t failures = 0;  ///< Captures that did not.
  std::uint64_t deferred = 0;  ///< Captures put off: somebody else captured, or there was no room.
  std::uint64_t evicted = 0;
  std::size_t graphs = 0;     ///< Captured now; one call has one for each stream that it came on.
  std::size_t bytes = 0;      ///< Of the device, that they take.
  std::size_t max_bytes = 0;  ///< That they may take.
  /// Each kind of call that is not captured, and why.
  std::vector<std::string> not_capturable{};
};

struct Snapshot {
  std::string backend;
  struct Limits {
    LimitsState state = LimitsState::kNone;
    std::string file{};                      ///< As the config names it; empty: none.
    std::vector<std::string> differences{};  ///< Between there and here, in words for people.
    bool needed = false;  ///< Whether this device is unsafe at a width that nobody measured.
  } limits;
  std::uint64_t unknown_operations = 0;  ///< Times that no op table knew an operation.
  std::array<LaneSnapshot, policies::kLanes> lanes;
  std::array<GateSnapshot, policies::kOpClasses> gates;
  struct Queue {
    std::size_t tasks = 0;
    std::size_t bytes = 0;
    std::size_t max_tasks = 0;
    std::size_t max_bytes = 0;
  } queue;
  /// Device memory for tasks that say or learn what they need, in bytes; 0 where nothing bounds.
  struct Memory {
    bool known = false;          ///< Whether the backend says how its memory stands.
    std::size_t whole = 0;       ///< The budget: what all of them may need together at best,
    std::size_t room = 0;        ///< and as of now.
    std::size_t free = 0;        ///< On the device, when last looked.
    std::size_t reserved = 0;    ///< By running tasks.
    std::size_t waiting = 0;     ///< Tasks that need memory and wait, for that or for other things.
    std::uint64_t overtakes = 0;  ///< Times that a task went ahead of one for which it was short.
    std::uint64_t measured = 0;  ///< Runs of which was measured what they held.
    std::uint64_t exceeded = 0;  ///< Of these, runs that held more than was reserved.
  } memory;
  struct Streams {
    std::size_t slots = 0;
    std::size_t opened = 0;
    std::size_t leased = 0;
    std::uint64_t exhausted = 0;  ///< Times that a task with a permit found no free stream.
  } streams;
  struct Arena {
    std::size_t threads = 0;           ///< Workers that the arena may use.
    std::size_t tickets = 0;           ///< Of them, those at work or called to it.
    std::size_t intra_op_threads = 0;  ///< libtorch's share of each task.
    bool raised_global_limit = false;  ///< Whether TBB's own limit on threads was in the way.
  } arena;
  struct Reloads {
    std::uint64_t applied = 0;
    std::uint64_t failed = 0;
    bool last_failed = false;          ///< The config in effect is older than its file.
    std::size_t keys_for_restart = 0;  ///< That the last good one found to differ.
  } reloads;
  WorkersSnapshot workers;
  OverflowSnapshot overflow;
  GraphsSnapshot graphs;
};

}  // namespace streamgate::executor

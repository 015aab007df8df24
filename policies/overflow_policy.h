// SPDX-License-Identifier: Apache-2.0
//
// Whether a call that finds its gate full should wait, or go to a worker process. Decisions only,
// from what is observed: no clock, no processes, no libtorch.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace streamgate::policies {

/// The two ways of a call.
enum class CallPath : std::uint8_t { kHere, kWorker };

/// Why a call went the way it went.
enum class OverflowReason : std::uint8_t {
  kRoom,        ///< Here: a permit was free.
  kOff,         ///< Here: the policy is never.
  kNoWorker,    ///< Here: no worker is ready.
  kFewerAhead,  ///< Worker: fewer calls for each worker than for each permit.
  kMoreAhead,   ///< Here: not so.
  kFaster,      ///< Worker: it will be done earlier there.
  kSlower,      ///< Here: it will be done earlier here, or hardly later.
  kUnmeasured,  ///< Here: nothing is known yet of how long such calls take.
  kTrial,       ///< Worker: overflow is being measured, for the first time or again.
  kNoGain,      ///< Here: workers were measured to bring no more than they take.
  kBaseline     ///< Here: measuring what this process does with no worker beside it.
};
inline constexpr std::size_t kOverflowReasons = 11;

/// "room", "off", "no_worker", ...: the word for metrics and logs.
[[nodiscard]] std::string_view to_string(OverflowReason reason) noexcept;

/// How things stand when a call comes.
struct OverflowSituation {
  std::chrono::nanoseconds now{0};  ///< On the caller's own clock, as in observations.
  std::uint64_t operation = 0;      ///< The same for calls that should take equally long.
  std::size_t lane = 0;             ///< policies::OpClassSet::lane.
  bool room = false;                ///< A permit is free, and nobody waits for it.
  std::size_t waiting = 0;          ///< Tasks that wait here and come first.
  std::size_t width = 1;            ///< Permits: tasks of that kind that run here at once.
  std::size_t workers = 0;          ///< That are ready, busy ones included.
  std::size_t workers_idle = 0;
  std::size_t workers_waiting = 0;  ///< Calls that wait for a worker.
};

struct OverflowDecision {
  CallPath path = CallPath::kHere;
  OverflowReason reason = OverflowReason::kRoom;
  /// From now to the end of the call, as expected; 0 where nothing is known.
  std::chrono::nanoseconds here{0};
  std::chrono::nanoseconds worker{0};
};

/// One task that ended well.
struct OverflowObservation {
  std::chrono::nanoseconds now{0};
  CallPath path = CallPath::kHere;
  std::uint64_t operation = 0;  ///< 0: a closure, of which only the lane is known.
  std::size_t lane = 0;
  /// From start to end; in a worker with the way there and back, and without waiting for one.
  std::chrono::nanoseconds service{0};
  std::size_t workers_busy = 0;  ///< Workers that ran something then.
  bool full = true;              ///< Of kHere: all permits of its kind were in use then.
  /// Of kWorker: one of the first of that operation in that process, in which it is loaded and
  /// compiled.
  bool first_runs = false;
};

/// What workers bring, as measured.
struct OverflowMeasurement {
  double slowdown = 1;  ///< Service time here with workers busy, over that without.
  double cost = 1;      ///< Service time in a worker, over that here without workers busy.
  double gain = 1;      ///< Throughput with all workers, over that without any.
};

/// Chooses between waiting here and a worker.
///
/// Thread-safety: externally synchronised; the executor calls it from one thread at a time.
/// Blocking: never. Failure: none. Observations may be lost: they are a sample.
///
///     auto policy = streamgate::policies::make_overflow_policy({.name = "cheapest"});
///     if (policy->decide(situation).path == CallPath::kWorker) pool.submit(call);
///     ...
///     policy->observe({.now = now, .path = CallPath::kWorker, .service = took});
class OverflowPolicy {
 public:
  virtual ~OverflowPolicy() = default;

  [[nodiscard]] virtual OverflowDecision decide(const OverflowSituation& situation) noexcept = 0;
  virtual void observe(const OverflowObservation& observation) noexcept = 0;
  /// Whether the policy needs observations at all; if not, the executor spares the call.
  [[nodiscard]] virtual bool wants_observations() const noexcept = 0;

  /// From a policy that measures it, and has.
  [[nodiscard]] virtual std::optional<OverflowMeasurement> gain() const noexcept {
    return std::nullopt;
  }
};

/// Every name that make_overflow_policy takes, for it and for the config.
///
/// `never` keeps every call here. `when_full` takes the way with fewer calls for each place on it.
/// `cheapest` takes the way that ends earlier by the service times of that operation on both; it
/// stops using workers when they slow this process down by more than they bring, as processes on
/// one GPU without a multi-process daemon do, and tries again later, later each time.
inline constexpr std::array<std::string_view, 3> kOverflowPolicyNames = {"never", "when_full",
                                                                         "cheapest"};

struct OverflowPolicyOptions {
  std::string_view name = "cheapest";
  // What follows is for `cheapest` only.
  double margin = 0.1;       ///< A worker must be earlier by this part to be turned to.
  double least_gain = 1.05;  ///< Below this, overflow does not pay.
  std::chrono::nanoseconds first_pause = std::chrono::seconds(30);  ///< After that; then doubled.
  std::chrono::nanoseconds longest_pause = std::chrono::minutes(15);
  /// After so long with workers always busy, what this process does alone is measured again.
  std::chrono::nanoseconds baseline_after = std::chrono::seconds(60);
  /// What the probe measured here, if it did: where workers pay they are used without a trial, and
  /// where they do not, the trial comes after a first pause.
  std::optional<double> probed_gain{};
};

/// The policy of that name. Throws std::invalid_argument that names the known policies for an
/// unknown name.
[[nodiscard]] std::unique_ptr<OverflowPolicy> make_overflow_policy(
    const OverflowPolicyOptions& options);

}  // namespace streamgate::policies

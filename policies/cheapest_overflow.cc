// SPDX-License-Identifier: Apache-2.0
//
// The overflow policy `cheapest`. Two questions, kept apart. For each call: on which way does it
// end earlier, by what such calls took on both and what is ahead of it? And for all of them: do
// workers bring more than they take from this process, or do both share what is scarce? The second
// is answered by ratios of service times, so that it does not matter which operations went where:
//
//   slowdown = service here beside busy workers / service here alone
//   cost     = service in a worker / service here alone
//   gain     = 1 / slowdown + (workers / width) / cost
//
// as W permits do W/s calls a second alone, and W/(slowdown s) + B/(cost s) with B workers beside
// them. All of it is measured with the gate full only: a service time at another width says nothing
// here. And in a trial twice: what processes do in their first seconds, while libraries load and
// compile, is no measure of them, so a trial ends with this process alone once more, and a second
// look by that; and a first run in a worker that fell into it makes it begin anew.
#include <streamgate/policies/internal/overflow_factories.h>
#include <streamgate/policies/op_class.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <utility>

namespace streamgate::policies::internal {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kNever = nanoseconds::max();

/// A mean that forgets, and how sure it is.
template <int kForgetAfter>
class Mean {
 public:
  void add(double sample) noexcept {
    // One that was stopped by a debugger, or by the system, is no news about the others.
    constexpr double kOutlier = 10;
    if (count_ >= 8) sample = std::min(sample, kOutlier * value_);
    count_ += count_ < kForgetAfter ? 1 : 0;
    const double off = sample - value_;
    value_ += off / count_;
    variance_ += (off * (sample - value_) - variance_) / count_;
  }
  /// What comes now counts for more than what was.
  void grow_old() noexcept { count_ = std::min(count_, 8); }
  [[nodiscard]] double value() const noexcept { return value_; }
  [[nodiscard]] double standard_error() const noexcept { return std::sqrt(variance_ / count_); }
  [[nodiscard]] bool known(int samples) const noexcept { return count_ >= samples; }
  [[nodiscard]] bool full() const noexcept { return count_ == kForgetAfter; }

 private:
  double value_ = 0;
  double variance_ = 0;
  int count_ = 0;
};
/// Of what the next call may take.
using Recent = Mean<32>;
/// Of what a judgement on all of overflow hangs on: service times scatter by more than themselves,
/// and it is asked thousands of times a second whether it pays.
using Steady = Mean<256>;

double seconds(nanoseconds duration) noexcept {
  return std::chrono::duration<double>(duration).count();
}
nanoseconds duration(double in_seconds) noexcept {
  return std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(in_seconds));
}

class CheapestOverflow final : public OverflowPolicy {
 public:
  explicit CheapestOverflow(const OverflowPolicyOptions& options)
      : options_(options), pause_(options.first_pause) {
    if (!options.probed_gain) return;
    phase_ = *options.probed_gain >= options.least_gain ? Phase::kPays : Phase::kPaused;
    begins_paused_ = phase_ == Phase::kPaused;
  }

  OverflowDecision decide(const OverflowSituation& situation) noexcept override;
  void observe(const OverflowObservation& observation) noexcept override;
  bool wants_observations() const noexcept override { return true; }
  std::optional<OverflowMeasurement> gain() const noexcept override;

 private:
  enum class Phase : std::uint8_t { kTrial, kPays, kPaused, kBaseline };

  struct Operation {
    std::uint64_t operation = 0;
    nanoseconds used{0};
    Steady alone;                ///< Service here, as if no worker were busy.
    Recent worker;               ///< Service in a worker.
    nanoseconds worker_seen{0};  ///< When one was last in a worker, or sent to try again.
    bool tries_again = false;    ///< What comes from a worker next says all anew.
    bool to_worker = false;      ///< Where the last one went.
  };
  /// How many samples a mean must have before something hangs on it.
  static constexpr int kFew = 3;
  static constexpr int kMany = 24;
  static constexpr int kBaseline = 256;  ///< Samples of a baseline.

  [[nodiscard]] Operation& find(std::uint64_t operation, nanoseconds now) noexcept;
  [[nodiscard]] std::optional<OverflowReason> stays(const OverflowSituation& situation) noexcept;
  void judge(nanoseconds now) noexcept;
  [[nodiscard]] bool in_trial() const noexcept {
    return phase_ == Phase::kTrial ||
           (phase_ == Phase::kBaseline && after_baseline_ == Phase::kTrial);
  }
  void begin_trial() noexcept;
  void forget_workers() noexcept;
  void pause(nanoseconds now) noexcept;
  void begin_baseline(nanoseconds now, Phase then) noexcept;

  const OverflowPolicyOptions options_;
  Phase phase_ = Phase::kTrial;
  nanoseconds pause_;
  nanoseconds until_{0};        ///< Of a pause or a baseline.
  bool begins_paused_ = false;  ///< With a pause whose end the first call says.
  int baseline_samples_ = 0;
  Phase after_baseline_ = Phase::kPays;
  bool trial_had_baseline_ = false;
  nanoseconds trial_ended_ = nanoseconds::min();
  nanoseconds alone_seen_ = kNever;  ///< When this process was last seen alone.
  std::size_t width_ = 1;
  std::size_t workers_ = 0;

  std::array<Recent, kLanes> here_;  ///< Service of all tasks here, whatever ran beside them.
  Recent in_workers_;                ///< And of all calls in workers.
  Steady slowdown_;
  Steady cost_;
  /// By hash; of those that fall on the same few places, the one longest unused is forgotten.
  std::array<Operation, 256> operations_{};
};

CheapestOverflow::Operation& CheapestOverflow::find(std::uint64_t operation,
                                                    nanoseconds now) noexcept {
  constexpr std::size_t kPlaces = 4;
  // The golden ratio's bits spread what differs in few of them.
  const std::size_t first = (operation * 0x9e37'79b9'7f4a'7c15U) >> 56U;
  Operation* oldest = nullptr;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    Operation& place = operations_[(first + i) % operations_.size()];
    if (place.operation == operation) {
      place.used = now;
      return place;
    }
    if (oldest == nullptr || place.used < oldest->used) oldest = &place;
  }
  *oldest = {};
  oldest->operation = operation;
  oldest->used = now;
  return *oldest;
}

// ---- observing ----

void CheapestOverflow::observe(const OverflowObservation& observation) noexcept {
  const double service = seconds(observation.service);
  if (service <= 0) return;
  if (observation.path == CallPath::kWorker) {
    Operation& operation = find(observation.operation, observation.now);
    if (observation.first_runs) {
      operation.worker_seen = observation.now;
      // Whatever else was measured meanwhile was measured beside it.
      if (trial_ended_ > observation.now - observation.service) {
        // Nor was the pause earned that followed from it.
        if (phase_ == Phase::kPaused) pause_ = std::max(options_.first_pause, pause_ / 2);
        begin_trial();
      } else if (in_trial()) {
        forget_workers();
      }
      return;
    }
    if (std::exchange(operation.tries_again, false)) operation.worker = Recent();
    operation.worker.add(service);
    operation.worker_seen = observation.now;
    in_workers_.add(service);
    if (operation.alone.known(kFew)) cost_.add(service / operation.alone.value());
    return judge(observation.now);
  }
  here_[observation.lane].add(service);
  if (observation.operation == 0 || !observation.full) return;
  Operation& operation = find(observation.operation, observation.now);
  if (observation.workers_busy == 0) {
    operation.alone.add(service);
    alone_seen_ = observation.now;
    ++baseline_samples_;
  } else if (operation.alone.known(kFew)) {
    slowdown_.add(service / operation.alone.value());
    judge(observation.now);
  } else if (phase_ != Phase::kBaseline) {
    // Workers may be busy all the time from its first call on.
    operation.alone.add(slowdown_.known(kMany) ? service / slowdown_.value() : service);
  }
}

std::optional<OverflowMeasurement> CheapestOverflow::gain() const noexcept {
  if (workers_ == 0 || !slowdown_.known(kMany) || !cost_.known(kMany)) return std::nullopt;
  OverflowMeasurement gain{.slowdown = slowdown_.value(), .cost = cost_.value()};
  gain.gain =
      1 / gain.slowdown + static_cast<double>(workers_) / static_cast<double>(width_) / gain.cost;
  return gain;
}

void CheapestOverflow::judge(nanoseconds now) noexcept {
  if (phase_ != Phase::kTrial && phase_ != Phase::kPays) return;
  const std::optional<OverflowMeasurement> measured = gain();
  if (!measured) return;
  if (phase_ == Phase::kTrial && !std::exchange(trial_had_baseline_, true)) {
    for (Operation& operation : operations_) operation.alone = Steady();
    forget_workers();
    return begin_baseline(now, Phase::kTrial);
  }
  const double share = static_cast<double>(workers_) / static_cast<double>(width_);
  const double of_slowdown = slowdown_.standard_error() / (slowdown_.value() * slowdown_.value());
  const double of_cost = share * cost_.standard_error() / (cost_.value() * cost_.value());
  const double error = std::sqrt(of_slowdown * of_slowdown + of_cost * of_cost);
  if (phase_ == Phase::kPays) {
    // What pays is given up for a loss only, and for one beyond doubt.
    if (measured->gain + 3 * error < 1) pause(now);
    return;
  }
  const bool enough = slowdown_.full() && cost_.full();
  if (!enough && std::abs(measured->gain - options_.least_gain) < 2 * error) return;
  trial_ended_ = now;
  if (measured->gain < options_.least_gain) return pause(now);
  phase_ = Phase::kPays;
  pause_ = options_.first_pause;
}

void CheapestOverflow::pause(nanoseconds now) noexcept {
  phase_ = Phase::kPaused;
  until_ = now + pause_;
  pause_ = std::min(2 * pause_, options_.longest_pause);
}

void CheapestOverflow::begin_trial() noexcept {
  phase_ = Phase::kTrial;
  trial_had_baseline_ = false;
  trial_ended_ = nanoseconds::min();
  forget_workers();
}

void CheapestOverflow::forget_workers() noexcept {
  slowdown_ = cost_ = Steady();
  in_workers_ = Recent();
  for (Operation& operation : operations_) operation.worker = Recent();
}

void CheapestOverflow::begin_baseline(nanoseconds now, Phase then) noexcept {
  phase_ = Phase::kBaseline;
  after_baseline_ = then;
  baseline_samples_ = 0;
  // A sixtieth of the time at most goes into that.
  until_ = now + options_.baseline_after / 60;
}

// ---- deciding ----

/// Why no worker is to be used now, whatever the call.
std::optional<OverflowReason> CheapestOverflow::stays(const OverflowSituation& situation) noexcept {
  if (std::exchange(begins_paused_, false)) pause(situation.now);
  if (phase_ == Phase::kPaused) {
    if (situation.now < until_) return OverflowReason::kNoGain;
    // All that was measured of workers is void; somebody may have started a daemon.
    begin_trial();
  }
  if (phase_ == Phase::kPays && alone_seen_ != kNever &&
      situation.now - alone_seen_ > options_.baseline_after) {
    for (Operation& operation : operations_) operation.alone.grow_old();
    begin_baseline(situation.now, Phase::kPays);
  }
  if (phase_ == Phase::kBaseline) {
    if (baseline_samples_ < kBaseline && situation.now < until_) return OverflowReason::kBaseline;
    phase_ = after_baseline_;
    alone_seen_ = situation.now;
  }
  return std::nullopt;
}

OverflowDecision CheapestOverflow::decide(const OverflowSituation& situation) noexcept {
  assert(situation.lane < kLanes && situation.width > 0);
  if (situation.room) return {.path = CallPath::kHere, .reason = OverflowReason::kRoom};
  if (situation.workers == 0) return {.path = CallPath::kHere, .reason = OverflowReason::kNoWorker};
  width_ = situation.width;
  workers_ = situation.workers;
  if (const auto reason = stays(situation)) return {.path = CallPath::kHere, .reason = *reason};
  Operation& operation = find(situation.operation, situation.now);
  if (!operation.alone.known(kFew)) {
    return {.path = CallPath::kHere, .reason = OverflowReason::kUnmeasured};
  }
  // Its first run in a worker may take seconds, and nobody waits behind that.
  if (!operation.worker.known(1) && situation.workers_idle == 0) {
    return {.path = CallPath::kHere, .reason = OverflowReason::kUnmeasured};
  }
  const bool beside = situation.workers_idle < situation.workers;
  const double service_here =
      operation.alone.value() * (beside && slowdown_.known(kFew) ? slowdown_.value() : 1);
  const Recent& all_here = here_[situation.lane];
  const double here = service_here + static_cast<double>(situation.waiting + 1) /
                                         static_cast<double>(situation.width) *
                                         (all_here.known(kFew) ? all_here.value() : service_here);
  // One slow call, the first of a module for instance, must not keep a worker unused for ever: now
  // and then one is sent as if it took no longer there.
  const bool try_again =
      operation.worker.known(1) && situation.now - operation.worker_seen > options_.first_pause;
  const double service_worker =
      try_again ? operation.alone.value()
      : operation.worker.known(1)
          ? operation.worker.value()
          : operation.alone.value() * (cost_.known(kFew) ? cost_.value() : 1);
  double worker = service_worker;
  if (situation.workers_idle == 0) {
    worker += static_cast<double>(situation.workers_waiting + 1) /
              static_cast<double>(situation.workers) *
              (in_workers_.known(kFew) ? in_workers_.value() : service_worker);
  }
  operation.to_worker = worker < here * (operation.to_worker ? 1 : 1 - options_.margin);
  OverflowDecision decision{.here = duration(here), .worker = duration(worker)};
  if (operation.to_worker && try_again) {
    operation.tries_again = true;
    operation.worker_seen = situation.now;
  }
  if (operation.to_worker) {
    decision.path = CallPath::kWorker;
    decision.reason = phase_ == Phase::kTrial ? OverflowReason::kTrial : OverflowReason::kFaster;
  } else {
    decision.reason = OverflowReason::kSlower;
  }
  return decision;
}

}  // namespace

std::unique_ptr<OverflowPolicy> make_cheapest_overflow(const OverflowPolicyOptions& options) {
  return std::make_unique<CheapestOverflow>(options);
}

}  // namespace streamgate::policies::internal

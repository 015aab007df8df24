// SPDX-License-Identifier: Apache-2.0
//
// The events of a simulation and their order.
#include <streamgate/executor/gate.h>
#include <streamgate/executor/internal/admission_queue.h>
#include <streamgate/executor/internal/core.h>
#include <streamgate/executor/simulation/arrivals.h>
#include <streamgate/executor/simulation/random.h>
#include <streamgate/executor/simulation/simulation.h>
#include <streamgate/executor/simulation/summary.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <deque>
#include <limits>
#include <mutex>
#include <queue>
#include <span>

namespace streamgate::executor::simulation {
namespace {

using policies::OpClass;
using Nanoseconds = std::chrono::nanoseconds;

/// At most 126 years, half of what fits: a collapsed plant takes longer for an answer than a clock
/// can count, and the sum with the present time must not come out in the past.
Nanoseconds from_seconds(double seconds) {
  const double nanoseconds = std::min(4e18, std::round(seconds * 1e9));
  return Nanoseconds(static_cast<Nanoseconds::rep>(nanoseconds));
}
double to_seconds(Nanoseconds time) { return std::chrono::duration<double>(time).count(); }

/// A queued task names its executor's core, which nothing here ever calls.
Core& no_core() {
  alignas(Core) static std::byte nothing[sizeof(Core)];
  return reinterpret_cast<Core&>(nothing);
}

/// A request; used again when it has ended.
struct Request final : TaskNode {
  Request() : TaskNode({}, OpClass::kRaw, no_core(), Door::kSubmit) {}
  Outcome invoke(TaskContext&) noexcept override { return Outcome::kOk; }
  void fail(std::exception_ptr) noexcept override {}
  Waiter* publish(Outcome) noexcept override { return nullptr; }

  Nanoseconds submitted_at{0};
  Nanoseconds admitted_at{0};
  double work_end = 0;     ///< Sharing: where the work of each shared thread stands at its end.
  std::uint64_t turn = 0;  ///< Told apart from what the same object was before.
  bool in_plant = false;
};

enum class What : std::uint8_t { kStage, kArrival, kSubmit, kAnswer, kRefusal, kTimeout, kShared };

struct Event {
  Nanoseconds at{0};
  std::uint64_t order = 0;  ///< What was planned first comes first.
  What what = What::kSubmit;
  Request* request = nullptr;
  std::uint64_t turn = 0;
};
struct Later {
  bool operator()(const Event& a, const Event& b) const noexcept {
    return a.at != b.at ? a.at > b.at : a.order > b.order;
  }
};

class Simulation {
 public:
  Simulation(const Scenario& scenario, policies::LimitPolicy& policy, const Options& options)
      : scenario_(scenario),
        policy_(policy),
        options_(options),
        plant_(scenario.plant),
        random_(options.seed),
        arrivals_(scenario.load),
        end_(from_seconds(scenario.duration_s)),
        measure_from_(from_seconds(options.measure_from_s)),
        gate_({.ceilings = {scenario.ceiling, 1, 1, 1}}),
        queue_(std::max<std::size_t>(scenario.queue, 1), 0) {
    limit_ = gate_.set_limit(OpClass::kRaw, policy.initial_limit());
    result_.limit_min = result_.limit_max = limit_;
  }
  ~Simulation() {
    const std::lock_guard lock(queue_.mutex());
    sort();
    while (TaskNode* node = queue_.best(0, AdmissionQueue::Doors::kBoth)) {
      static_cast<void>(queue_.take(*node));
    }
  }
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  Result run() {
    for (std::size_t i = 0; i < scenario_.plant_stages.size(); ++i) {
      plan(from_seconds(scenario_.plant_stages[i].from_s), What::kStage);
    }
    if (scenario_.load.kind == LoadKind::kClosed) {
      for (std::size_t i = 0; i < scenario_.load.clients; ++i) plan({}, What::kSubmit);
    } else {
      plan_arrival();
    }
    while (!events_.empty() && !result_.crashed && events_.top().at <= end_) {
      const Event event = events_.top();
      events_.pop();
      advance(event.at);
      handle(event);
    }
    if (!result_.crashed) advance(end_);
    finish();
    return std::move(result_);
  }

 private:
  // ---- Time -------------------------------------------------------------------------------------

  void plan(Nanoseconds at, What what, Request* request = nullptr) {
    if (at > end_) return;
    events_.push({at, planned_++, what, request, request == nullptr ? 0 : request->turn});
  }

  void advance(Nanoseconds to) {
    while (sampled_ < options_.samples) {
      const Nanoseconds at = from_seconds(scenario_.duration_s * static_cast<double>(sampled_ + 1) /
                                          static_cast<double>(options_.samples));
      if (at > to) break;
      const double every = to_seconds(end_) / static_cast<double>(options_.samples);
      result_.series.push_back({to_seconds(at), limit_, in_flight(),
                                static_cast<double>(since_sample_) / every});
      since_sample_ = 0;
      ++sampled_;
    }
    const double seconds = to_seconds(to - now_);
    if (to > measure_from_) {
      const double measured = to_seconds(to - std::max(now_, measure_from_));
      limit_seconds_ += measured * static_cast<double>(limit_);
      in_flight_seconds_ += measured * static_cast<double>(in_flight());
    }
    if (sharing() && in_flight() > 0) {
      work_done_ += seconds * std::min(1.0, plant_.threads / static_cast<double>(sharers_.size()));
    }
    now_ = to;
  }

  void handle(const Event& event) {
    switch (event.what) {
      case What::kStage:
        plant_ = scenario_.plant_stages[stage_++].plant;
        plan_shared();
        break;
      case What::kArrival:
        submit();
        plan_arrival();
        break;
      case What::kSubmit:
        submit();
        break;
      case What::kAnswer:
      case What::kRefusal:
      case What::kTimeout:
        if (event.request->turn == event.turn) end_request(*event.request, event.what);
        break;
      case What::kShared:
        if (event.order == shared_event_) end_shared();
        break;
    }
  }

  void plan_arrival() {
    if (const std::optional<double> at = arrivals_.next(random_)) {
      plan(from_seconds(*at), What::kArrival);
    }
  }

  // ---- The way of a request ---------------------------------------------------------------------

  void submit() {
    ++result_.offered;
    Request& request = take_request();
    request.submitted_at = now_;
    const bool room = scenario_.queue > 0 || gate_.would_refuse(OpClass::kRaw) ==
                                                 Gate::Refusal::kNone;
    if (!room || queue_.reserve(0) != AdmissionQueue::Push::kAccepted) {
      ++result_.rejected;
      give_back(request);
      return client_returns(Answer::kRefused);
    }
    static_cast<void>(queue_.push(request));
    admit();
  }

  void sort() {
    NodeChain none;
    queue_.sort_inbox(none, none);
    assert(none.empty() && "nobody cancels a simulated request");
  }

  /// Lets in what waits, as long as there are permits.
  void admit() {
    while (!result_.crashed && queue_.tasks() > 0 && gate_.try_acquire(OpClass::kRaw)) {
      Request* request = nullptr;
      {
        const std::lock_guard lock(queue_.mutex());
        sort();
        request = static_cast<Request*>(queue_.best(0, AdmissionQueue::Doors::kBoth));
        static_cast<void>(queue_.take(*request));
      }
      enter_plant(*request);
    }
  }

  void enter_plant(Request& request) {
    request.admitted_at = now_;
    request.in_plant = true;
    const std::size_t n = in_flight();
    result_.in_flight_max = std::max(result_.in_flight_max, n);
    if (now_ >= measure_from_) waits_.push_back(to_seconds(now_ - request.submitted_at));
    if (scenario_.crash_above && n > *scenario_.crash_above) {
      result_.crashed = true;
      return;
    }
    if (scenario_.reject_above && n > *scenario_.reject_above) {
      return plan(now_, What::kRefusal, &request);
    }
    if (scenario_.timeout_s > 0) {
      plan(now_ + from_seconds(scenario_.timeout_s), What::kTimeout, &request);
    }
    if (scenario_.drop_above && n > *scenario_.drop_above) return;
    const double heavy =
        plant_.heavy_share > 0 && random_.uniform() < plant_.heavy_share ? plant_.heavy_factor : 1;
    const double jitter = plant_.jitter > 0 ? plant_.jitter * random_.exponential() : 0;
    const double service = plant_.service_s * heavy;
    const auto load = static_cast<double>(n);
    switch (plant_.kind) {
      case PlantKind::kDelay: {
        const double knee = std::pow(plant_.base, std::max(0.0, load - plant_.knee)) - 1;
        plan(now_ + from_seconds(service * (1 + (load - 1) * plant_.scale + knee + jitter)),
             What::kAnswer, &request);
        break;
      }
      case PlantKind::kPower:
        plan(now_ + from_seconds(service * (1 + jitter) *
                                 std::pow(std::max(1.0, load / plant_.knee), plant_.exponent)),
             What::kAnswer, &request);
        break;
      case PlantKind::kSharing:
        request.work_end = work_done_ + service * (1 + jitter);
        sharers_.push_back(&request);
        std::push_heap(sharers_.begin(), sharers_.end(), ends_later);
        plan_shared();
        break;
    }
  }

  void end_request(Request& request, What what) {
    assert(request.in_plant && "a completion without an admission");
    const bool good = what == What::kAnswer;
    const policies::Observation observation{.now = now_,
                                            .wait = request.admitted_at - request.submitted_at,
                                            .service = now_ - request.admitted_at,
                                            .in_flight = in_flight(),
                                            .limit = limit_,
                                            .good = good};
    if (good && now_ >= measure_from_) {
      ++result_.completed;
      latencies_.push_back(to_seconds(observation.service));
    }
    if (good) ++since_sample_;
    if (what == What::kRefusal) ++result_.rejected;
    if (what == What::kTimeout) {
      ++result_.timed_out;
      if (sharing()) leave_shared(request);
    }
    gate_.release(OpClass::kRaw);
    give_back(request);
    if (const std::optional<std::size_t> limit = policy_.observe(observation)) {
      limit_ = gate_.set_limit(OpClass::kRaw, *limit);
      result_.limit_min = std::min(result_.limit_min, limit_);
      result_.limit_max = std::max(result_.limit_max, limit_);
    }
    client_returns(what == What::kRefusal ? Answer::kRefused : Answer::kOther);
    admit();
  }

  enum class Answer : std::uint8_t { kRefused, kOther };

  /// A client of the closed load sends its next request: at once, or, when refused, after the time
  /// that an answer takes. Without that pause a refusal that takes no time would stop the clock.
  void client_returns(Answer answer) {
    if (scenario_.load.kind != LoadKind::kClosed) return;
    plan(answer == Answer::kRefused ? now_ + from_seconds(plant_.service_s) : now_, What::kSubmit);
  }

  // ---- Processor sharing ------------------------------------------------------------------------

  static bool ends_later(const Request* a, const Request* b) noexcept {
    return a->work_end > b->work_end;
  }
  [[nodiscard]] bool sharing() const noexcept { return plant_.kind == PlantKind::kSharing; }

  /// Plans the next end of a shared request; what was planned before is void.
  void plan_shared() {
    if (!sharing() || sharers_.empty()) return;
    const double rate = std::min(1.0, plant_.threads / static_cast<double>(sharers_.size()));
    const double left = std::max(0.0, sharers_.front()->work_end - work_done_) / rate;
    shared_event_ = planned_;
    plan(now_ + from_seconds(left), What::kShared);
  }

  void end_shared() {
    std::pop_heap(sharers_.begin(), sharers_.end(), ends_later);
    Request& request = *sharers_.back();
    sharers_.pop_back();
    plan_shared();
    end_request(request, What::kAnswer);
  }

  void leave_shared(Request& request) {
    if (std::erase(sharers_, &request) == 0) return;  // One that was never answered had no share.
    std::make_heap(sharers_.begin(), sharers_.end(), ends_later);
    plan_shared();
  }

  // ---- The rest ---------------------------------------------------------------------------------

  Request& take_request() {
    if (free_.empty()) return requests_.emplace_back();
    Request& request = *free_.back();
    free_.pop_back();
    request.phase.store(TaskNode::Phase::kInbox, std::memory_order_relaxed);
    return request;
  }
  void give_back(Request& request) {
    ++request.turn;
    request.in_plant = false;
    free_.push_back(&request);
  }

  [[nodiscard]] std::size_t in_flight() const noexcept { return gate_.in_use(OpClass::kRaw); }

  void finish() {
    result_.ended_s = to_seconds(now_);
    const double measured = std::max(1e-9, to_seconds(now_ - std::min(now_, measure_from_)));
    result_.throughput_per_s = static_cast<double>(result_.completed) / measured;
    result_.latency_s = times_of(latencies_);
    result_.wait_s = times_of(waits_);
    result_.in_flight_mean = in_flight_seconds_ / measured;
    result_.limit_mean = limit_seconds_ / measured;
    result_.limit_last = limit_;
    result_.settled_s = settled_since(result_.series);
    result_.knee = policy_.knee();
  }

  const Scenario& scenario_;
  policies::LimitPolicy& policy_;
  const Options& options_;
  Plant plant_;
  std::size_t stage_ = 0;
  Random random_;
  Arrivals arrivals_;
  Nanoseconds end_;
  Nanoseconds measure_from_;
  Gate gate_;
  std::deque<Request> requests_;  ///< Before the queue, which holds pointers to them.
  std::vector<Request*> free_;
  AdmissionQueue queue_;
  std::size_t limit_ = 0;

  Nanoseconds now_{0};
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::uint64_t planned_ = 0;
  std::vector<Request*> sharers_;  ///< A heap by work_end.
  double work_done_ = 0;           ///< Seconds of work that each sharer's thread has done.
  std::uint64_t shared_event_ = 0;

  Result result_;
  std::vector<double> latencies_;
  std::vector<double> waits_;
  double limit_seconds_ = 0;
  double in_flight_seconds_ = 0;
  std::size_t sampled_ = 0;
  std::uint64_t since_sample_ = 0;
};

}  // namespace

Result simulate(const Scenario& scenario, policies::LimitPolicy& policy, const Options& options) {
  check(scenario);
  return Simulation(scenario, policy, options).run();
}

}  // namespace streamgate::executor::simulation

// SPDX-License-Identifier: Apache-2.0
//
// Overflow policies on a simulated service: clients that call again when they have their answer,
// permits here and workers there, and service times that both ways have together.
#include <streamgate/policies/overflow_policy.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace streamgate::policies {
namespace {

using std::chrono::duration;
using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// How long a call takes, by what is going on when it starts.
struct Plant {
  std::size_t width = 2;
  std::size_t workers = 2;
  double here_s = 0.010;
  double slowdown = 1;  ///< Of calls here while workers are busy.
  double cost = 1;      ///< Of a call in a worker, in times of one here.
  double jitter = 0.1;
  /// Of the calls in workers every tenth of the first ones takes a second, so many of them,
  std::size_t first_runs = 0;
  double beside_first_runs = 1;  ///< and slows down what runs beside it.
};

/// A closed loop on simulated time.
class Service {
 public:
  explicit Service(const OverflowPolicyOptions& options, Plant with)
      : plant(with), policy(make_overflow_policy(options)) {}

  /// Runs for so long with so many clients; counts begin anew.
  void run(seconds length, std::size_t clients) {
    here = in_workers = 0;
    reasons = {};
    const nanoseconds end = now + length;
    while (in_flight_ < clients) arrive();
    while (!ends_.empty() && ends_.top().at < end) {
      const End next = ends_.top();
      ends_.pop();
      now = next.at;
      complete(next);
      if (in_flight_ < clients) arrive();
    }
    now = std::max(now, end);
  }

  [[nodiscard]] std::size_t done() const { return here + in_workers; }
  [[nodiscard]] std::size_t count(OverflowReason reason) const {
    return reasons[static_cast<std::size_t>(reason)];
  }

  Plant plant;
  std::unique_ptr<OverflowPolicy> policy;
  nanoseconds now{0};
  std::size_t here = 0;  ///< Calls done, by way.
  std::size_t in_workers = 0;
  std::array<std::size_t, kOverflowReasons> reasons{};
  std::function<std::uint64_t()> operation = [] { return 1; };
  std::function<double(std::uint64_t)> weight = [](std::uint64_t) { return 1.0; };

 private:
  struct Call {
    std::uint64_t operation = 0;
  };
  struct End {
    nanoseconds at;
    CallPath path;
    std::uint64_t operation;
    nanoseconds service;
    bool first_run = false;
    bool operator<(const End& other) const { return at > other.at; }
  };

  void arrive() {
    ++in_flight_;
    const std::uint64_t op = operation();
    const OverflowDecision decision =
        policy->decide({.now = now,
                        .operation = op,
                        .lane = 1,
                        .room = running_ < plant.width && waiting_.empty(),
                        .waiting = waiting_.size(),
                        .width = plant.width,
                        .workers = plant.workers,
                        .workers_idle = plant.workers - std::min(busy_, plant.workers),
                        .workers_waiting = for_workers_.size()});
    ++reasons[static_cast<std::size_t>(decision.reason)];
    (decision.path == CallPath::kHere ? waiting_ : for_workers_).push_back({.operation = op});
    start();
  }

  void start() {
    while (running_ < plant.width && !waiting_.empty()) {
      ++running_;
      begin(CallPath::kHere, waiting_.front(), busy_ > 0 ? plant.slowdown : 1, false);
      waiting_.pop_front();
    }
    while (busy_ < plant.workers && !for_workers_.empty()) {
      ++busy_;
      const bool first = in_workers_ever_++ % 10 == 0 && plant.first_runs > 0;
      if (first) --plant.first_runs;
      begin(CallPath::kWorker, for_workers_.front(), first ? 1 / plant.here_s : plant.cost, first);
      for_workers_.pop_front();
    }
  }

  void begin(CallPath path, const Call& call, double factor, bool first_run) {
    if (!first_run && first_running_ > 0) factor *= plant.beside_first_runs;
    first_running_ += first_run ? 1 : 0;
    const double service = plant.here_s * weight(call.operation) * factor *
                           (1 + plant.jitter * (uniform_(random_) - 0.5));
    const auto took = duration_cast<nanoseconds>(duration<double>(service));
    ends_.push({.at = now + took,
                .path = path,
                .operation = call.operation,
                .service = took,
                .first_run = first_run});
  }

  void complete(const End& end) {
    --in_flight_;
    const bool is_here = end.path == CallPath::kHere;
    first_running_ -= end.first_run ? 1 : 0;
    policy->observe({.now = now,
                     .path = end.path,
                     .operation = end.operation,
                     .lane = 1,
                     .service = end.service,
                     .workers_busy = busy_,
                     .full = running_ == plant.width,
                     .first_runs = end.first_run});
    --(is_here ? running_ : busy_);
    ++(is_here ? here : in_workers);
    start();
  }

  std::mt19937_64 random_{1};
  std::uniform_real_distribution<double> uniform_{0, 1};
  std::priority_queue<End> ends_;
  std::deque<Call> waiting_;
  std::deque<Call> for_workers_;
  std::size_t in_flight_ = 0;
  std::size_t running_ = 0;
  std::size_t busy_ = 0;
  int first_running_ = 0;
  std::size_t in_workers_ever_ = 0;
};

/// What the same service does with another policy.
std::size_t done_with(const char* name, const Plant& plant, seconds length, std::size_t clients) {
  Service service({.name = name}, plant);
  service.run(length, clients);
  return service.done();
}

TEST(OverflowPolicy, NamesAreKnown) {
  for (const std::string_view name : kOverflowPolicyNames) {
    EXPECT_NE(make_overflow_policy({.name = name}), nullptr);
  }
  try {
    static_cast<void>(make_overflow_policy({.name = "sometimes"}));
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("never, when_full, cheapest"), std::string::npos);
  }
  EXPECT_EQ(to_string(OverflowReason::kRoom), "room");
  EXPECT_EQ(to_string(OverflowReason::kBaseline), "baseline");
}

TEST(OverflowPolicy, NobodyGoesToAWorkerWhileThereIsRoomOrThereIsNone) {
  for (const std::string_view name : kOverflowPolicyNames) {
    const auto policy = make_overflow_policy({.name = name});
    EXPECT_EQ(policy->decide({.room = true, .workers = 4, .workers_idle = 4}).reason,
              OverflowReason::kRoom);
    EXPECT_EQ(policy->decide({.waiting = 100, .workers = 0}).path, CallPath::kHere);
  }
}

TEST(NeverOverflow, KeepsEveryCallHere) {
  Service service({.name = "never"}, {});
  service.run(seconds(5), 8);
  EXPECT_EQ(service.in_workers, 0U);
  EXPECT_GT(service.count(OverflowReason::kOff), 0U);
}

TEST(OverflowWhenFull, TakesTheWayWithFewerCallsForEachPlace) {
  const auto policy = make_overflow_policy({.name = "when_full"});
  const auto path = [&](std::size_t waiting, std::size_t idle, std::size_t workers_waiting) {
    return policy
        ->decide({.waiting = waiting,
                  .width = 2,
                  .workers = 4,
                  .workers_idle = idle,
                  .workers_waiting = workers_waiting})
        .path;
  };
  EXPECT_EQ(path(0, 1, 0), CallPath::kWorker) << "one is idle";
  EXPECT_EQ(path(0, 0, 0), CallPath::kHere) << "all run, here and there";
  EXPECT_EQ(path(1, 0, 0), CallPath::kWorker) << "3 of 2 here, 4 of 4 there";
  EXPECT_EQ(path(1, 0, 2), CallPath::kHere) << "3 of 2 here, 6 of 4 there";
}

TEST(CheapestOverflow, UsesWorkersWhereTheyBringWhatTheyAre) {
  const Plant plant{.width = 2, .workers = 8};
  Service service({}, plant);
  service.run(seconds(30), 40);
  const std::size_t alone = done_with("never", plant, seconds(30), 40);
  EXPECT_GT(service.done(), alone * 45 / 10) << "of (2 + 8) / 2";
  ASSERT_TRUE(service.policy->gain().has_value());
  EXPECT_NEAR(service.policy->gain()->gain, 5, 0.5);
  EXPECT_GT(service.count(OverflowReason::kFaster), service.count(OverflowReason::kSlower));
}

TEST(CheapestOverflow, NoticesThatWorkersTakeMoreThanTheyBringAndStops) {
  // What processes on one GPU do without a multi-process daemon: they take turns.
  const Plant plant{.width = 8, .workers = 4, .slowdown = 3, .cost = 3};
  Service service({}, plant);
  service.run(seconds(60), 32);
  service.run(seconds(60), 32);
  EXPECT_GT(service.done(), done_with("never", plant, seconds(60), 32) * 95 / 100);
  EXPECT_LT(done_with("when_full", plant, seconds(60), 32),
            done_with("never", plant, seconds(60), 32) * 70 / 100)
      << "so there was something to notice";
  EXPECT_LT(service.in_workers, service.here / 50);
  EXPECT_GT(service.count(OverflowReason::kNoGain), service.done() * 9 / 10);
}

TEST(CheapestOverflow, IsNotDeceivedByAProcessThatIsSlowAtFirst) {
  // Whose first calls load and compile what the others need, so that workers look like a gain.
  const Plant plant{.width = 8, .workers = 4, .slowdown = 3, .cost = 3};
  Service service({}, plant);
  int calls = 0;
  service.weight = [&](std::uint64_t) { return ++calls <= 40 ? 20.0 : 1.0; };
  service.run(seconds(60), 32);
  EXPECT_GT(service.done(), done_with("never", plant, seconds(60), 32) * 95 / 100);
  EXPECT_LT(service.in_workers, service.here / 50);
}

TEST(CheapestOverflow, IsNotDeceivedByWorkersThatAreSlowAtFirst) {
  // While one loads a library all others wait for the machine, and the first to be ready is judged.
  const Plant plant{.width = 8, .workers = 4, .first_runs = 12, .beside_first_runs = 5};
  Service service({}, plant);
  service.run(seconds(10), 32);
  service.run(seconds(10), 32);
  EXPECT_GT(service.in_workers, service.here / 3) << "4 workers beside 8 permits";
  ASSERT_TRUE(service.policy->gain().has_value());
  EXPECT_NEAR(service.policy->gain()->gain, 1.5, 0.2);
}

TEST(CheapestOverflow, BeginsWithWhatTheProbeMeasured) {
  const Plant plant{.width = 2, .workers = 2, .slowdown = 3, .cost = 3};
  Service warned({.probed_gain = 0.8}, plant);
  warned.run(seconds(29), 8);
  EXPECT_EQ(warned.in_workers, 0U) << "before the trial";
  EXPECT_GT(warned.count(OverflowReason::kNoGain), 0U);
  warned.run(seconds(10), 8);
  EXPECT_GT(warned.count(OverflowReason::kTrial), 0U) << "things may have changed since";

  Service encouraged({.probed_gain = 2}, {.width = 2, .workers = 2});
  encouraged.run(seconds(10), 8);
  EXPECT_GT(encouraged.in_workers, encouraged.done() / 3);
  EXPECT_EQ(encouraged.count(OverflowReason::kTrial), 0U);

  Service deceived({.probed_gain = 2}, plant);
  deceived.run(seconds(60), 8);
  EXPECT_GT(deceived.count(OverflowReason::kNoGain), 0U) << "what is seen here counts for more";
}

TEST(CheapestOverflow, TriesAgainLaterAndUsesWhatHasBecomeWorthIt) {
  Service service({}, {.width = 8, .workers = 4, .slowdown = 3, .cost = 3});
  service.run(seconds(20), 32);
  service.run(seconds(5), 32);
  ASSERT_EQ(service.in_workers, 0U) << "it paused";
  service.plant.slowdown = service.plant.cost = 1;
  service.run(seconds(60), 32);
  EXPECT_GT(service.count(OverflowReason::kTrial), 0U);
  service.run(seconds(30), 32);
  EXPECT_GT(service.in_workers, service.here / 3) << "4 workers beside 8 permits";
}

TEST(CheapestOverflow, TriesLessAndLessOftenWhileItDoesNotPay) {
  Service service({}, {.width = 8, .workers = 4, .slowdown = 3, .cost = 3});
  service.run(seconds(300), 32);
  const std::size_t early = service.in_workers;
  service.run(seconds(300), 32);
  EXPECT_GT(early, service.in_workers);
  service.run(seconds(3'000), 32);
  EXPECT_GT(service.in_workers, 0U) << "but it does";
}

TEST(CheapestOverflow, LetsACallWaitWhereAWorkerWouldTakeLonger) {
  // Four times as slow in a worker, and three calls wait for two permits at most.
  Service service({}, {.width = 2, .workers = 2, .cost = 4});
  service.run(seconds(5), 5);
  service.run(seconds(10), 5);
  EXPECT_EQ(service.in_workers, 0U);
  EXPECT_GT(service.count(OverflowReason::kSlower), service.here * 9 / 10);
  service.run(seconds(10), 32);
  EXPECT_GT(service.in_workers, service.here / 8) << "with 30 waiting it is worth it";
}

TEST(CheapestOverflow, JudgesEachOperationByItself) {
  // One is cheap to carry, the other is not: it takes ten times as long in a worker.
  const auto policy = make_overflow_policy({});
  const auto see = [&](CallPath path, std::uint64_t operation, double service_s) {
    for (int i = 0; i < 10; ++i) {
      policy->observe({.path = path,
                       .operation = operation,
                       .lane = 0,
                       .service = duration_cast<nanoseconds>(duration<double>(service_s))});
    }
  };
  for (const std::uint64_t operation : {1, 2}) see(CallPath::kHere, operation, 0.01);
  see(CallPath::kWorker, 1, 0.01);
  see(CallPath::kWorker, 2, 0.1);
  const auto path = [&](std::uint64_t operation) {
    return policy
        ->decide(
            {.operation = operation, .waiting = 6, .width = 2, .workers = 2, .workers_idle = 1})
        .path;
  };
  EXPECT_EQ(path(1), CallPath::kWorker);
  EXPECT_EQ(path(2), CallPath::kHere);
}

TEST(CheapestOverflow, WaitsUntilItKnowsHowLongSuchCallsTake) {
  const auto policy = make_overflow_policy({});
  const OverflowSituation full{.operation = 7, .waiting = 9, .workers = 1, .workers_idle = 1};
  EXPECT_EQ(policy->decide(full).reason, OverflowReason::kUnmeasured);
  for (int i = 0; i < 3; ++i) {
    policy->observe({.operation = 7, .service = milliseconds(10), .full = false});
  }
  EXPECT_EQ(policy->decide(full).reason, OverflowReason::kUnmeasured)
      << "at a smaller width it took another time";
  for (int i = 0; i < 3; ++i) policy->observe({.operation = 7, .service = milliseconds(10)});
  const OverflowDecision decision = policy->decide(full);
  EXPECT_EQ(decision.reason, OverflowReason::kTrial);
  EXPECT_EQ(decision.here, milliseconds(110)) << "nine before it and one that runs, and its own";
  EXPECT_EQ(decision.worker, milliseconds(10));
}

TEST(CheapestOverflow, FirstRunsSayNothing) {
  const auto policy = make_overflow_policy({});
  for (int i = 0; i < 3; ++i) policy->observe({.operation = 1, .service = milliseconds(10)});
  for (int i = 0; i < 3; ++i) {
    policy->observe(
        {.path = CallPath::kWorker, .operation = 1, .service = seconds(3), .first_runs = true});
  }
  const OverflowDecision idle =
      policy->decide({.operation = 1, .waiting = 3, .width = 2, .workers = 2, .workers_idle = 1});
  EXPECT_EQ(idle.reason, OverflowReason::kTrial);
  EXPECT_EQ(idle.worker, milliseconds(10)) << "not seconds";
  const OverflowDecision busy =
      policy->decide({.operation = 1, .waiting = 99, .width = 2, .workers = 2, .workers_idle = 0});
  EXPECT_EQ(busy.path, CallPath::kHere) << "it would wait behind what may take seconds";
  EXPECT_EQ(busy.reason, OverflowReason::kUnmeasured);
}

TEST(CheapestOverflow, ExpectsToWaitForABusyWorker) {
  const auto policy = make_overflow_policy({});
  for (int i = 0; i < 5; ++i) {
    policy->observe({.operation = 1, .service = milliseconds(10)});
    policy->observe({.path = CallPath::kWorker, .operation = 1, .service = milliseconds(10)});
  }
  const OverflowDecision decision = policy->decide(
      {.operation = 1, .waiting = 20, .workers = 2, .workers_idle = 0, .workers_waiting = 3});
  EXPECT_EQ(decision.worker, milliseconds(30)) << "four before it, two at a time, and its own";
}

TEST(CheapestOverflow, ExpectsCallsHereToTakeWhatTheyTakeBesideBusyWorkers) {
  const auto policy = make_overflow_policy({});
  for (int i = 0; i < 5; ++i) policy->observe({.operation = 1, .service = milliseconds(10)});
  for (int i = 0; i < 5; ++i) {
    policy->observe({.operation = 1, .service = milliseconds(30), .workers_busy = 1});
  }
  // The one that runs counts as any of the last ones; for its own time is known what it is beside.
  const auto here = [&](std::size_t idle) {
    return duration<double, std::milli>(
               policy->decide({.operation = 1, .workers = 2, .workers_idle = idle}).here)
        .count();
  };
  EXPECT_NEAR(here(1), 20 + 30, 0.01);
  EXPECT_NEAR(here(2), 20 + 10, 0.01);
}

TEST(CheapestOverflow, TurnsToAWorkerForAClearAdvantageOnly) {
  const auto policy = make_overflow_policy({});
  for (int i = 0; i < 5; ++i) policy->observe({.operation = 1, .service = milliseconds(10)});
  const auto path_with_worker_at = [&](milliseconds service) {
    for (int i = 0; i < 200; ++i) {
      policy->observe({.path = CallPath::kWorker, .operation = 1, .service = service});
    }
    return policy->decide({.operation = 1, .waiting = 0, .workers = 9, .workers_idle = 9}).path;
  };
  // Here it takes 20 ms: one before it, and its own.
  EXPECT_EQ(path_with_worker_at(milliseconds(19)), CallPath::kHere);
  EXPECT_EQ(path_with_worker_at(milliseconds(17)), CallPath::kWorker);
  EXPECT_EQ(path_with_worker_at(milliseconds(19)), CallPath::kWorker) << "it stays there";
  EXPECT_EQ(path_with_worker_at(milliseconds(21)), CallPath::kHere);
}

TEST(CheapestOverflow, ASlowFirstCallDoesNotKeepAWorkerUnusedForEver) {
  Service service({}, {.width = 2, .workers = 2, .cost = 300});
  service.run(seconds(6), 8);
  service.plant.cost = 1;
  service.run(seconds(120), 8);
  service.run(seconds(10), 8);
  EXPECT_GT(service.in_workers, service.here / 2);
}

TEST(CheapestOverflow, MeasuresThisProcessAloneNowAndThen) {
  Service service({}, {.width = 2, .workers = 8});
  service.run(seconds(300), 60);
  EXPECT_GT(service.count(OverflowReason::kBaseline), 0U);
  EXPECT_LT(service.count(OverflowReason::kBaseline), service.done() / 20);
  // What it did alone has become three times as slow, and a worker as well: nothing changes.
  service.plant.here_s *= 3;
  service.run(seconds(300), 60);
  EXPECT_NEAR(service.policy->gain()->gain, 5, 0.7);
}

TEST(CheapestOverflow, AMixOfLongAndShortCallsDoesNotDeceiveIt) {
  Service service({}, {.width = 2, .workers = 4});
  std::uint64_t next = 0;
  service.operation = [&] { return 1 + next++ % 5; };
  service.weight = [](std::uint64_t operation) { return operation == 1 ? 20.0 : 1.0; };
  service.run(seconds(60), 30);
  ASSERT_TRUE(service.policy->gain().has_value());
  EXPECT_NEAR(service.policy->gain()->gain, 3, 0.5);
}

}  // namespace
}  // namespace streamgate::policies

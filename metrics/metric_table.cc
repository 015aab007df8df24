// SPDX-License-Identifier: Apache-2.0
//
// The table of metrics. A new metric is one row here; scrape, docs and their tests follow from it.
#include <streamgate/metrics/metric_table.h>
#include <streamgate/policies/op_class.h>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace streamgate::metrics {
namespace {

using executor::DurationHistogram;
using executor::LaneSnapshot;
using executor::Outcome;
using executor::Snapshot;
using policies::OpClass;
using policies::OpClassSet;

using Samples = std::vector<Sample>;

template <typename Number>
Sample sample(std::vector<std::string> labels, Number value) {
  return {.labels = std::move(labels), .value = static_cast<double>(value)};
}

template <typename Number>
Samples one(Number value) {
  return {sample({}, value)};
}

std::string lane_name(std::size_t lane) {
  return std::string(to_string(OpClassSet::from_lane(lane)));
}

/// Every lane and every outcome, from the first scrape on: a counter that appears only with its
/// first event hides that event from rate() and increase(), and it is the first that alerts wait
/// for. The number is fixed and small, so nothing is won by leaving some out.
Samples tasks(const Observation& observed) {
  Samples samples;
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    for (std::size_t i = 0; i < executor::kOutcomes; ++i) {
      const auto outcome = static_cast<Outcome>(i);
      samples.push_back(
          sample({lane_name(lane), std::string(to_string(outcome)), std::string(reason(outcome))},
                 observed.snapshot.lanes[lane].outcomes[i]));
    }
  }
  return samples;
}

bool is_empty(const DurationHistogram& histogram) {
  return std::all_of(histogram.counts.begin(), histogram.counts.end(),
                     [](std::uint64_t count) { return count == 0; });
}

/// Only lanes in which a task has run: a histogram is 28 series, and most services use one lane. A
/// snapshot may see a task in one histogram and not yet in the other, so both are asked.
Samples durations(const Observation& observed, DurationHistogram LaneSnapshot::*histogram) {
  Samples samples;
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    const LaneSnapshot& counted = observed.snapshot.lanes[lane];
    if (is_empty(counted.wait) && is_empty(counted.run)) continue;
    samples.push_back({.labels = {lane_name(lane)}, .histogram = &(counted.*histogram)});
  }
  return samples;
}

Samples gates(const Observation& observed, std::size_t executor::GateSnapshot::*number) {
  Samples samples;
  for (const OpClass op_class : policies::kAllOpClasses) {
    samples.push_back(sample({std::string(to_string(op_class))},
                             observed.snapshot.gates[index_of(op_class)].*number));
  }
  return samples;
}

/// The classes whose policy has found a knee: before that there is nothing to say.
template <typename Number>
Samples knees(const Observation& observed, Number (*number)(const executor::GateSnapshot::Knee&)) {
  Samples samples;
  for (const OpClass op_class : policies::kAllOpClasses) {
    const auto& knee = observed.snapshot.gates[index_of(op_class)].knee;
    if (knee) samples.push_back(sample({std::string(to_string(op_class))}, number(*knee)));
  }
  return samples;
}

template <typename Words, typename Numbers>
Samples by_word(const Words& words, const Numbers& numbers) {
  Samples samples;
  for (const auto word : words) {
    samples.push_back(
        sample({std::string(to_string(word))}, numbers[static_cast<std::size_t>(word)]));
  }
  return samples;
}

/// Every reason from the first scrape on, as the outcomes of tasks; of the classes that have a
/// policy which may decide anything at all.
Samples decisions(const Observation& observed) {
  Samples samples;
  for (const OpClass op_class : policies::kAllOpClasses) {
    const executor::GateSnapshot& gate = observed.snapshot.gates[index_of(op_class)];
    if (gate.ceiling <= 1) continue;
    for (std::size_t i = 0; i < policies::kLimitReasons; ++i) {
      const auto reason = static_cast<policies::LimitReason>(i);
      samples.push_back(sample({std::string(to_string(op_class)), std::string(to_string(reason))},
                               gate.decision_counts[i]));
    }
  }
  return samples;
}

/// Only once a worker was ready: most services have none.
Samples worker_starts(const Observation& observed) {
  const DurationHistogram& histogram = observed.snapshot.workers.start_time;
  if (is_empty(histogram)) return {};
  return {{.labels = {}, .histogram = &histogram}};
}

Samples overflow_decisions(const Observation& observed) {
  Samples samples;
  for (std::size_t i = 0; i < policies::kOverflowReasons; ++i) {
    samples.push_back(sample({std::string(to_string(static_cast<policies::OverflowReason>(i)))},
                             observed.snapshot.overflow.decisions[i]));
  }
  return samples;
}

/// A call that went to a worker ends in one of these.
Samples overflow_calls(const Observation& observed) {
  using executor::Outcome;
  Samples samples;
  for (const Outcome outcome : {Outcome::kOk, Outcome::kExpired, Outcome::kCancelled,
                                Outcome::kWorkerDied, Outcome::kFailed}) {
    samples.push_back(sample({std::string(to_string(outcome))},
                             observed.snapshot.overflow.outcomes[index_of(outcome)]));
  }
  return samples;
}

Samples overflow_gain(const Observation& observed) {
  const auto& measured = observed.snapshot.overflow.measured;
  return measured ? one(measured->gain) : Samples{};
}

std::vector<Metric> make_table() {
  using enum MetricType;
  return {
      {"streamgate_tasks_total",
       kCounter,
       "tasks",
       {"class", "outcome", "reason"},
       "Tasks that have ended, by how; reason is empty unless the outcome is rejected.",
       tasks},
      {"streamgate_task_wait_seconds",
       kHistogram,
       "seconds",
       {"class"},
       "Time from submission to start, of tasks that ran.",
       [](const Observation& o) { return durations(o, &LaneSnapshot::wait); }},
      {"streamgate_task_run_seconds",
       kHistogram,
       "seconds",
       {"class"},
       "Time from start to the device's completion, of tasks that ran.",
       [](const Observation& o) { return durations(o, &LaneSnapshot::run); }},

      {"streamgate_queue_tasks",
       kGauge,
       "tasks",
       {},
       "Tasks that wait for admission.",
       [](const Observation& o) { return one(o.snapshot.queue.tasks); }},
      {"streamgate_queue_class_tasks",
       kGauge,
       "tasks",
       {"class"},
       "Of them, those of one class.",
       [](const Observation& o) {
         Samples samples;
         for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
           samples.push_back(sample({lane_name(lane)}, o.snapshot.lanes[lane].queued));
         }
         return samples;
       }},
      {"streamgate_queue_bytes",
       kGauge,
       "bytes",
       {},
       "Bytes that the waiting tasks declare together.",
       [](const Observation& o) { return one(o.snapshot.queue.bytes); }},
      {"streamgate_queue_max_tasks",
       kGauge,
       "tasks",
       {},
       "Tasks beyond which the queue is full.",
       [](const Observation& o) { return one(o.snapshot.queue.max_tasks); }},
      {"streamgate_queue_max_bytes",
       kGauge,
       "bytes",
       {},
       "Bytes beyond which the queue is full.",
       [](const Observation& o) { return one(o.snapshot.queue.max_bytes); }},

      {"streamgate_memory_budget_bytes",
       kGauge,
       "bytes",
       {},
       "Device memory that running tasks may need together at best; 0: nothing bounds it.",
       [](const Observation& o) { return one(o.snapshot.memory.whole); }},
      {"streamgate_memory_room_bytes",
       kGauge,
       "bytes",
       {},
       "Of it, what the device leaves as of now, what is reserved included.",
       [](const Observation& o) { return one(o.snapshot.memory.room); }},
      {"streamgate_memory_reserved_bytes",
       kGauge,
       "bytes",
       {},
       "Device memory that running tasks have reserved.",
       [](const Observation& o) { return one(o.snapshot.memory.reserved); }},
      {"streamgate_memory_free_bytes",
       kGauge,
       "bytes",
       {},
       "Free memory of the device, when a task that needs some last made the executor look.",
       [](const Observation& o) { return one(o.snapshot.memory.free); }},
      {"streamgate_memory_waiting_tasks",
       kGauge,
       "tasks",
       {},
       "Waiting tasks that need device memory, whatever they wait for.",
       [](const Observation& o) { return one(o.snapshot.memory.waiting); }},
      {"streamgate_memory_overtakes_total",
       kCounter,
       "tasks",
       {},
       "Tasks that went ahead of one for which memory was short.",
       [](const Observation& o) { return one(o.snapshot.memory.overtakes); }},
      {"streamgate_memory_measured_total",
       kCounter,
       "tasks",
       {},
       "Tasks of which was measured what device memory they held.",
       [](const Observation& o) { return one(o.snapshot.memory.measured); }},
      {"streamgate_memory_exceeded_total",
       kCounter,
       "tasks",
       {},
       "Of these, tasks that held more than they had reserved.",
       [](const Observation& o) { return one(o.snapshot.memory.exceeded); }},

      {"streamgate_gate_in_use",
       kGauge,
       "permits",
       {"class"},
       "Permits that tasks hold; above the limit only until a lowered limit is reached.",
       [](const Observation& o) { return gates(o, &executor::GateSnapshot::in_use); }},
      {"streamgate_gate_limit",
       kGauge,
       "permits",
       {"class"},
       "Where the limit policy stands; at most the ceiling.",
       [](const Observation& o) { return gates(o, &executor::GateSnapshot::limit); }},
      {"streamgate_gate_ceiling",
       kGauge,
       "permits",
       {"class"},
       "The safe width, which nothing exceeds.",
       [](const Observation& o) { return gates(o, &executor::GateSnapshot::ceiling); }},
      {"streamgate_gate_policy_info",
       kInfo,
       "",
       {"class", "policy"},
       "The limit policy of the gate.",
       [](const Observation& o) {
         Samples samples;
         for (const OpClass op_class : policies::kAllOpClasses) {
           samples.push_back(sample(
               {std::string(to_string(op_class)), o.snapshot.gates[index_of(op_class)].policy}, 1));
         }
         return samples;
       }},

      {"streamgate_gate_wanted_limit",
       kGauge,
       "permits",
       {"class"},
       "What the limit policy asks for; another number than the limit only in shadow.",
       [](const Observation& o) { return gates(o, &executor::GateSnapshot::wanted); }},
      {"streamgate_gate_shadow",
       kGauge,
       "",
       {"class"},
       "1 if the limit policy only watches; else 0.",
       [](const Observation& o) {
         Samples samples;
         for (const OpClass op_class : policies::kAllOpClasses) {
           samples.push_back(sample({std::string(to_string(op_class))},
                                    o.snapshot.gates[index_of(op_class)].enforced ? 0 : 1));
         }
         return samples;
       }},
      {"streamgate_gate_knee",
       kGauge,
       "permits",
       {"class"},
       "Where throughput stops growing, as the limit policy has measured it.",
       [](const Observation& o) {
         return knees(
             o, +[](const executor::GateSnapshot::Knee& knee) { return knee.limit; });
       }},
      {"streamgate_gate_knee_low",
       kGauge,
       "permits",
       {"class"},
       "The largest limit that was measured to be too small, or 1.",
       [](const Observation& o) {
         return knees(
             o, +[](const executor::GateSnapshot::Knee& knee) { return knee.low; });
       }},
      {"streamgate_gate_knee_high",
       kGauge,
       "permits",
       {"class"},
       "The smallest limit that was measured to bring no more, or the ceiling.",
       [](const Observation& o) {
         return knees(
             o, +[](const executor::GateSnapshot::Knee& knee) { return knee.high; });
       }},
      {"streamgate_gate_knee_age_seconds",
       kGauge,
       "seconds",
       {"class"},
       "Time since the knee was found, or found again.",
       [](const Observation& o) {
         return knees(
             o, +[](const executor::GateSnapshot::Knee& knee) {
               return std::chrono::duration<double>(knee.age).count();
             });
       }},
      {"streamgate_gate_decisions_total",
       kCounter,
       "decisions",
       {"class", "reason"},
       "Decisions of the limit policy, by why it took them.",
       decisions},

      {"streamgate_limits_state",
       kGauge,
       "",
       {"state"},
       "1 for what became of the limits file: none, used, or mismatch (measured elsewhere, and not "
       "used); else 0.",
       [](const Observation& o) {
         Samples samples;
         for (const executor::LimitsState state : executor::kAllLimitsStates) {
           samples.push_back(
               sample({std::string(to_string(state))}, state == o.snapshot.limits.state ? 1 : 0));
         }
         return samples;
       }},

      {"streamgate_unknown_operations_total",
       kCounter,
       "operations",
       {},
       "Times that an operation was asked for that no op table knows; it was taken as "
       "kernel+graph.",
       [](const Observation& o) { return one(o.snapshot.unknown_operations); }},

      {"streamgate_streams_slots",
       kGauge,
       "streams",
       {},
       "Streams that the pool may open.",
       [](const Observation& o) { return one(o.snapshot.streams.slots); }},
      {"streamgate_streams_opened",
       kGauge,
       "streams",
       {},
       "Streams that have been opened on the device.",
       [](const Observation& o) { return one(o.snapshot.streams.opened); }},
      {"streamgate_streams_leased",
       kGauge,
       "streams",
       {},
       "Streams that a task holds until the device is done with it.",
       [](const Observation& o) { return one(o.snapshot.streams.leased); }},
      {"streamgate_streams_exhausted_total",
       kCounter,
       "times",
       {},
       "Times that a task with a permit found no free stream.",
       [](const Observation& o) { return one(o.snapshot.streams.exhausted); }},

      {"streamgate_arena_threads",
       kGauge,
       "threads",
       {},
       "Workers that the arena may use.",
       [](const Observation& o) { return one(o.snapshot.arena.threads); }},
      {"streamgate_arena_tickets",
       kGauge,
       "tickets",
       {},
       "Workers of the arena that are at work or called to it.",
       [](const Observation& o) { return one(o.snapshot.arena.tickets); }},
      {"streamgate_arena_intra_op_threads",
       kGauge,
       "threads",
       {},
       "Threads of libtorch within one task.",
       [](const Observation& o) { return one(o.snapshot.arena.intra_op_threads); }},
      {"streamgate_arena_raised_global_limit",
       kGauge,
       "",
       {},
       "1 if the arena needed more threads than oneTBB allows by itself, and raised that; else 0.",
       [](const Observation& o) { return one(o.snapshot.arena.raised_global_limit ? 1 : 0); }},

      {"streamgate_overflow_decisions_total",
       kCounter,
       "calls",
       {"reason"},
       "Calls that could run here or in a worker process, by why they went where they went.",
       overflow_decisions},
      {"streamgate_overflow_calls_total",
       kCounter,
       "calls",
       {"outcome"},
       "Calls that went to a worker process, by outcome.",
       overflow_calls},
      {"streamgate_overflow_returned_total",
       kCounter,
       "calls",
       {},
       "Calls that no worker process took, and that ran here after all.",
       [](const Observation& o) { return one(o.snapshot.overflow.returned); }},
      {"streamgate_overflow_away",
       kGauge,
       "calls",
       {},
       "Calls that are with a worker process, or wait for one.",
       [](const Observation& o) { return one(o.snapshot.overflow.away); }},
      {"streamgate_overflow_gain",
       kGauge,
       "",
       {},
       "Throughput with all worker processes over that without any, once it has been measured.",
       overflow_gain},
      {"streamgate_overflow_quarantined",
       kGauge,
       "calls",
       {},
       "Different calls that have killed worker processes.",
       [](const Observation& o) { return one(o.snapshot.overflow.quarantined.size()); }},

      {"streamgate_workers",
       kGauge,
       "processes",
       {"state"},
       "Worker processes, by where they are in their life.",
       [](const Observation& o) {
         return by_word(executor::kAllWorkerStates, o.snapshot.workers.states);
       }},
      {"streamgate_worker_starts_total",
       kCounter,
       "processes",
       {},
       "Worker processes started.",
       [](const Observation& o) { return one(o.snapshot.workers.starts); }},
      {"streamgate_worker_exits_total",
       kCounter,
       "processes",
       {"cause"},
       "Worker processes that have ended or could not be started, by why.",
       [](const Observation& o) {
         return by_word(executor::kAllWorkerExits, o.snapshot.workers.exits);
       }},
      {"streamgate_worker_start_seconds",
       kHistogram,
       "seconds",
       {},
       "Time from starting a worker process to its being ready.",
       worker_starts},
      {"streamgate_worker_breaker_open",
       kGauge,
       "",
       {},
       "1 while no worker is started because too many died too fast; else 0.",
       [](const Observation& o) { return one(o.snapshot.workers.breaker_open ? 1 : 0); }},
      {"streamgate_worker_calls_queued",
       kGauge,
       "calls",
       {},
       "Calls that wait for a worker.",
       [](const Observation& o) { return one(o.snapshot.workers.calls_queued); }},
      {"streamgate_worker_calls_total",
       kCounter,
       "calls",
       {},
       "Times that a worker was given a call.",
       [](const Observation& o) { return one(o.snapshot.workers.calls_started); }},
      {"streamgate_worker_calls_requeued_total",
       kCounter,
       "calls",
       {},
       "Times that a call went to another worker since its own died before it began.",
       [](const Observation& o) { return one(o.snapshot.workers.calls_requeued); }},
      {"streamgate_worker_calls_retried_total",
       kCounter,
       "calls",
       {},
       "Times that a call that may be repeated was, since its worker died with it.",
       [](const Observation& o) { return one(o.snapshot.workers.calls_retried); }},
      {"streamgate_worker_memory_bytes",
       kGauge,
       "bytes",
       {},
       "Memory of worker processes that they share with nobody.",
       [](const Observation& o) { return one(o.snapshot.workers.memory_bytes); }},
      {"streamgate_worker_shared_reserved_bytes",
       kGauge,
       "bytes",
       {},
       "Shared memory reserved for what goes to workers and back.",
       [](const Observation& o) { return one(o.snapshot.workers.shared_reserved_bytes); }},
      {"streamgate_worker_shared_used_bytes",
       kGauge,
       "bytes",
       {},
       "Of it, what inputs and results take that are in use here.",
       [](const Observation& o) { return one(o.snapshot.workers.shared_used_bytes); }},
      {"streamgate_worker_moved_bytes_total",
       kCounter,
       "bytes",
       {"direction"},
       "Bytes of requests lent to workers, and of responses mapped from them.",
       [](const Observation& o) {
         return Samples{sample({"sent"}, o.snapshot.workers.bytes_sent),
                        sample({"received"}, o.snapshot.workers.bytes_received)};
       }},

      {"streamgate_graph_calls_total",
       kCounter,
       "calls",
       {"way"},
       "Calls on a device that has graphs, by whether a captured graph was replayed or they ran.",
       [](const Observation& o) {
         return Samples{sample({"replay"}, o.snapshot.graphs.replays),
                        sample({"eager"}, o.snapshot.graphs.eager)};
       }},
      {"streamgate_graph_captures_total",
       kCounter,
       "captures",
       {"result"},
       "Captures of calls as graphs; deferred were not tried, as somebody else captured or there "
       "was no room.",
       [](const Observation& o) {
         return Samples{sample({"captured"}, o.snapshot.graphs.captures),
                        sample({"failed"}, o.snapshot.graphs.failures),
                        sample({"deferred"}, o.snapshot.graphs.deferred)};
       }},
      {"streamgate_graph_evicted_total",
       kCounter,
       "graphs",
       {},
       "Captured graphs that were given up for others, or for want of memory.",
       [](const Observation& o) { return one(o.snapshot.graphs.evicted); }},
      {"streamgate_graphs",
       kGauge,
       "graphs",
       {},
       "Captured graphs; a call has one for each stream that it came on.",
       [](const Observation& o) { return one(o.snapshot.graphs.graphs); }},
      {"streamgate_graph_bytes",
       kGauge,
       "bytes",
       {},
       "Memory of the device that captured graphs take.",
       [](const Observation& o) { return one(o.snapshot.graphs.bytes); }},
      {"streamgate_graph_max_bytes",
       kGauge,
       "bytes",
       {},
       "Memory of the device that captured graphs may take; 0 where there are none.",
       [](const Observation& o) { return one(o.snapshot.graphs.max_bytes); }},

      {"streamgate_config_reloads_total",
       kCounter,
       "reloads",
       {"result"},
       "Attempts to reload the config; after a failed one the config in effect is the old one.",
       [](const Observation& o) {
         return Samples{sample({"applied"}, o.snapshot.reloads.applied),
                        sample({"failed"}, o.snapshot.reloads.failed)};
       }},
      {"streamgate_config_last_reload_successful",
       kGauge,
       "",
       {},
       "0 while the config's file, or its limits file, cannot be used and an older config is in "
       "effect; else 1.",
       [](const Observation& o) { return one(o.snapshot.reloads.last_failed ? 0 : 1); }},
      {"streamgate_config_keys_for_restart",
       kGauge,
       "keys",
       {},
       "Keys that the last good reload found to differ, and that take effect only on a restart.",
       [](const Observation& o) { return one(o.snapshot.reloads.keys_for_restart); }},
      {"streamgate_build_info",
       kInfo,
       "",
       {"version", "libtorch", "backend", "device"},
       "Which Streamgate, libtorch, backend and device this is.",
       [](const Observation& o) {
         return Samples{sample(
             {STREAMGATE_VERSION, o.provenance.libtorch, o.snapshot.backend, o.provenance.device},
             1)};
       }},
  };
}

}  // namespace

std::string_view to_string(MetricType type) noexcept {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kHistogram:
      return "histogram";
    case MetricType::kGauge:
    case MetricType::kInfo:
      break;
  }
  return "gauge";
}

const std::vector<Metric>& metric_table() {
  // Never destroyed: a scrape may still run while static destructors do.
  static const auto& table = *new std::vector<Metric>(make_table());
  return table;
}

}  // namespace streamgate::metrics

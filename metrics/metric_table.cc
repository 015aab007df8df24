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

      {"streamgate_config_reloads_total",
       kCounter,
       "reloads",
       {"result"},
       "Attempts to reload the config; after a failed one the config in effect is the old one.",
       [](const Observation& o) {
         return Samples{sample({"applied"}, o.snapshot.reloads.applied),
                        sample({"failed"}, o.snapshot.reloads.failed)};
       }},
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

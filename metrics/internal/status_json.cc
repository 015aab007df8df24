// SPDX-License-Identifier: Apache-2.0
#include <streamgate/metrics/internal/status_json.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace streamgate::metrics::internal {
namespace {

using executor::Outcome;
using executor::Snapshot;
using Json = nlohmann::ordered_json;
using policies::index_of;
using policies::kAllOpClasses;
using policies::OpClass;
using policies::OpClassSet;

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

/// Three digits behind the point are enough to look at, and a third of the bytes.
double rounded(double value) { return std::round(value * 1000) / 1000; }

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::string counted(std::size_t count, std::string_view one, std::string_view many) {
  return std::to_string(count) + ' ' + std::string(count == 1 ? one : many);
}

Json gate_json(OpClass op_class, const executor::GateSnapshot& gate) {
  Json knee = nullptr;
  if (gate.knee) {
    knee = {{"limit", gate.knee->limit},
            {"low", gate.knee->low},
            {"high", gate.knee->high},
            {"per_second", rounded(gate.knee->per_second)},
            {"age_s", rounded(seconds(gate.knee->age))}};
  }
  return {{"class", to_string(op_class)}, {"in_use", gate.in_use},   {"limit", gate.limit},
          {"ceiling", gate.ceiling},      {"policy", gate.policy},   {"enforced", gate.enforced},
          {"wanted", gate.wanted},        {"windows", gate.windows}, {"knee", std::move(knee)}};
}

/// Of the lanes that have had a task.
Json tasks_json(const Snapshot& snapshot) {
  Json tasks = Json::array();
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    const executor::LaneSnapshot& counted = snapshot.lanes[lane];
    const bool used =
        counted.queued != 0 || std::any_of(counted.outcomes.begin(), counted.outcomes.end(),
                                           [](std::uint64_t count) { return count != 0; });
    if (!used) continue;
    Json row = {{"class", to_string(OpClassSet::from_lane(lane))}, {"queued", counted.queued}};
    for (std::size_t i = 0; i < executor::kOutcomes; ++i) {
      const auto outcome = static_cast<Outcome>(i);
      const std::string word(to_string(outcome));  // "rejected" is that of several.
      row[word] = row.value(word, std::uint64_t{0}) + counted.outcomes[i];
    }
    tasks.push_back(std::move(row));
  }
  return tasks;
}

Json workers_json(const executor::WorkersSnapshot& workers) {
  Json json = Json::object();
  for (std::size_t i = 0; i < executor::kAllWorkerStates.size(); ++i) {
    json[std::string(to_string(executor::kAllWorkerStates[i]))] = workers.states[i];
  }
  Json exits = Json::object();
  for (std::size_t i = 0; i < executor::kAllWorkerExits.size(); ++i) {
    exits[std::string(to_string(executor::kAllWorkerExits[i]))] = workers.exits[i];
  }
  json["starts"] = workers.starts;
  json["exits"] = std::move(exits);
  json["breaker_open"] = workers.breaker_open;
  json["calls_queued"] = workers.calls_queued;
  json["calls_started"] = workers.calls_started;
  json["calls_retried"] = workers.calls_retried;
  json["memory_bytes"] = workers.memory_bytes;
  json["shared_reserved_bytes"] = workers.shared_reserved_bytes;
  json["shared_used_bytes"] = workers.shared_used_bytes;
  return json;
}

Json overflow_json(const executor::OverflowSnapshot& overflow) {
  Json decisions = Json::object();
  for (std::size_t i = 0; i < policies::kOverflowReasons; ++i) {
    decisions[std::string(to_string(static_cast<policies::OverflowReason>(i)))] =
        overflow.decisions[i];
  }
  Json measured = nullptr;
  if (overflow.measured) {
    measured = {{"slowdown", rounded(overflow.measured->slowdown)},
                {"cost", rounded(overflow.measured->cost)},
                {"gain", rounded(overflow.measured->gain)}};
  }
  Json quarantined = Json::array();
  for (const auto& each : overflow.quarantined) {
    quarantined.push_back(
        {{"operation", each.operation}, {"killed", each.killed}, {"evidence", each.evidence}});
  }
  return {{"policy", overflow.policy},       {"away", overflow.away},
          {"returned", overflow.returned},   {"decisions", std::move(decisions)},
          {"measured", std::move(measured)}, {"quarantined", std::move(quarantined)}};
}

/// Of all gates, the newest first.
Json decisions_json(const Snapshot& snapshot, executor::Clock::time_point now) {
  std::vector<std::pair<OpClass, policies::LimitDecision>> decisions;
  for (const OpClass op_class : kAllOpClasses) {
    for (const auto& each : snapshot.gates[index_of(op_class)].decisions) {
      decisions.emplace_back(op_class, each);
    }
  }
  std::stable_sort(decisions.begin(), decisions.end(),
                   [](const auto& a, const auto& b) { return a.second.now > b.second.now; });
  Json json = Json::array();
  for (const auto& [op_class, each] : decisions) {
    json.push_back({{"class", to_string(op_class)},
                    {"age_s", rounded(seconds(now.time_since_epoch() - each.now))},
                    {"from", each.from},
                    {"to", each.to},
                    {"reason", to_string(each.reason)},
                    {"gain", rounded(each.gain)},
                    {"gain_low", rounded(each.gain_low)},
                    {"gain_high", rounded(each.gain_high)}});
  }
  return json;
}

/// By columns, as the names of the fields would be most of the bytes otherwise.
Json history_json(const History& history, executor::Clock::time_point now) {
  const auto column = [&](auto value) {
    Json values = Json::array();
    for (const HistoryPoint& point : history.points()) values.push_back(rounded(value(point)));
    return values;
  };
  using Point = HistoryPoint;
  Json gates = Json::array();
  for (const OpClass op_class : kAllOpClasses) {
    const std::size_t i = index_of(op_class);
    gates.push_back({{"class", to_string(op_class)},
                     {"in_use", column([i](const Point& p) { return p.gates[i].in_use; })},
                     {"limit", column([i](const Point& p) { return p.gates[i].limit; })},
                     {"ok_per_s", column([i](const Point& p) { return p.gates[i].ok_per_s; })}});
  }
  return {{"age_s", column([&](const Point& p) { return seconds(now - p.end); })},
          {"queued", column([](const Point& p) { return p.queued; })},
          {"at_work", column([](const Point& p) { return p.at_work; })},
          {"workers_busy", column([](const Point& p) { return p.workers_busy; })},
          {"ok_per_s", column([](const Point& p) { return p.ok_per_s; })},
          {"refused_per_s", column([](const Point& p) { return p.refused_per_s; })},
          {"failed_per_s", column([](const Point& p) { return p.failed_per_s; })},
          {"gates", std::move(gates)}};
}

Json executor_json(const StatusSource& source, executor::Clock::time_point now) {
  const Snapshot& snapshot = source.executor.snapshot;
  const executor::Provenance& provenance = source.executor.provenance;
  Json warnings = Json::array();
  for (StatusWarning& warning : warnings_of(snapshot)) {
    warnings.push_back({{"id", std::move(warning.id)}, {"text", std::move(warning.text)}});
  }
  Json gates = Json::array();
  for (const OpClass op_class : kAllOpClasses) {
    gates.push_back(gate_json(op_class, snapshot.gates[index_of(op_class)]));
  }
  const Quantiles wait = source.history.recent_wait();
  const Quantiles run = source.history.recent_run();
  return {{"name", source.executor.name},
          {"provenance",
           {{"backend", provenance.backend},
            {"libtorch", provenance.libtorch},
            {"device", provenance.device},
            {"driver", provenance.driver},
            {"os", provenance.os}}},
          {"warnings", std::move(warnings)},
          {"gates", std::move(gates)},
          {"tasks", tasks_json(snapshot)},
          {"wait_s", {{"p50", or_null(wait.p50)}, {"p99", or_null(wait.p99)}}},
          {"run_s", {{"p50", or_null(run.p50)}, {"p99", or_null(run.p99)}}},
          {"queue",
           {{"tasks", snapshot.queue.tasks},
            {"bytes", snapshot.queue.bytes},
            {"max_tasks", snapshot.queue.max_tasks},
            {"max_bytes", snapshot.queue.max_bytes}}},
          {"streams",
           {{"slots", snapshot.streams.slots},
            {"opened", snapshot.streams.opened},
            {"leased", snapshot.streams.leased},
            {"exhausted", snapshot.streams.exhausted}}},
          {"arena",
           {{"threads", snapshot.arena.threads},
            {"at_work", snapshot.arena.tickets},
            {"intra_op_threads", snapshot.arena.intra_op_threads}}},
          {"workers", workers_json(snapshot.workers)},
          {"overflow", overflow_json(snapshot.overflow)},
          {"limits",
           {{"state", to_string(snapshot.limits.state)},
            {"file", snapshot.limits.file},
            {"differences", snapshot.limits.differences}}},
          {"reloads",
           {{"applied", snapshot.reloads.applied},
            {"failed", snapshot.reloads.failed},
            {"last_failed", snapshot.reloads.last_failed},
            {"keys_for_restart", snapshot.reloads.keys_for_restart}}},
          {"unknown_operations", snapshot.unknown_operations},
          {"decisions", decisions_json(snapshot, now)},
          {"history", history_json(source.history, now)}};
}

}  // namespace

std::vector<StatusWarning> warnings_of(const Snapshot& snapshot) {
  std::vector<StatusWarning> warnings;
  const auto warn = [&](std::string id, std::string text) {
    warnings.push_back({std::move(id), std::move(text)});
  };
  if (snapshot.limits.state == executor::LimitsState::kMismatch) {
    std::string differences;
    for (const std::string& each : snapshot.limits.differences) {
      differences += (differences.empty() ? ": " : ", ") + each;
    }
    warn("limits_mismatch", "The limits file " + snapshot.limits.file +
                                " was measured elsewhere and is not used" + differences +
                                ". Kernel, graph and exclusive tasks run one at a time.");
  } else if (snapshot.limits.needed) {
    warn("limits_missing",
         "This device is unsafe at a width that nobody measured: kernel, graph and exclusive tasks "
         "run "
         "one at a time. `streamgate probe` measures it.");
  }
  if (snapshot.reloads.last_failed) {
    warn("reload_failed",
         "The config file cannot be used; the last good one stays in effect. The log names the "
         "line.");
  }
  if (snapshot.reloads.keys_for_restart != 0) {
    warn("restart_needed",
         counted(snapshot.reloads.keys_for_restart, "changed key of the config takes",
                 "changed keys of the config take") +
             " effect only on a restart.");
  }
  if (snapshot.workers.breaker_open) {
    warn("workers_breaker_open",
         "Too many worker processes died too fast: none is started for a while.");
  }
  if (!snapshot.overflow.quarantined.empty()) {
    warn("calls_quarantined",
         counted(snapshot.overflow.quarantined.size(), "call is", "calls are") +
             " refused, having killed workers.");
  }
  if (snapshot.queue.max_tasks != 0 && snapshot.queue.tasks >= snapshot.queue.max_tasks) {
    warn("queue_full", "The queue holds its maximum of tasks: more are rejected.");
  }
  return warnings;
}

std::string status_json(const std::vector<StatusSource>& sources, executor::Clock::time_point now,
                        std::chrono::system_clock::time_point date) {
  Json executors = Json::array();
  for (const StatusSource& source : sources) executors.push_back(executor_json(source, now));
  const Json status = {{"version", STREAMGATE_VERSION},
                       {"time_s", rounded(seconds(date.time_since_epoch()))},
                       {"executors", std::move(executors)}};
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace streamgate::metrics::internal

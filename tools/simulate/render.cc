// SPDX-License-Identifier: Apache-2.0
#include "simulate/render.h"

#include <nlohmann/json.hpp>

#include "format.h"


namespace streamgate::tools {
namespace {

using Json = nlohmann::ordered_json;
using executor::simulation::Result;
using executor::simulation::Sample;
using executor::simulation::Times;

// ---- for people ----

std::string line_of(const Played& played) {
  const Result& run = played.result;
  return format("%-10s %12.6g  %10.4g %10.4g  %10.4g %10.4g  %6.1f %5zu  %5zu %5zu %5zu  %8s  %9llu "
                "%9llu%s\n",
                played.policy.c_str(), run.throughput_per_s, run.latency_s.mean, run.latency_s.p99,
                run.wait_s.mean, run.wait_s.p99, run.in_flight_mean, run.in_flight_max,
                run.limit_min, run.limit_last, run.limit_max,
                run.settled_s ? format("%.4g", *run.settled_s).c_str() : "never",
                static_cast<unsigned long long>(run.rejected),
                static_cast<unsigned long long>(run.timed_out),
                run.crashed ? format("  the plant died at %.4g s", run.ended_s).c_str() : "");
}

std::string decisions_of(const Played& played) {
  std::string text;
  for (std::size_t i = 0; i < policies::kLimitReasons; ++i) {
    if (played.decisions[i] == 0) continue;
    text += format("%s%s %llu", text.empty() ? "" : ", ",
                   std::string(to_string(static_cast<policies::LimitReason>(i))).c_str(),
                   static_cast<unsigned long long>(played.decisions[i]));
  }
  std::string knee;
  if (const auto& estimate = played.result.knee) {
    knee = format("; knee %zu (%zu to %zu)", estimate->knee, estimate->low, estimate->high);
  }
  return text.empty() ? "" : played.policy + " decided: " + text + knee + '\n';
}

// ---- for programs ----

Json times_json(const Times& times) {
  return {{"mean", times.mean}, {"p50", times.p50}, {"p99", times.p99}};
}

Json knee_json(const Result& run) {
  if (!run.knee) return nullptr;
  return {{"limit", run.knee->knee},
          {"low", run.knee->low},
          {"high", run.knee->high},
          {"confirmed_s", std::chrono::duration<double>(run.knee->confirmed).count()}};
}

Json json_of(const Played& played) {
  const Result& run = played.result;
  Json series = Json::array();
  for (const Sample& sample : run.series) {
    series.push_back(
        Json::array({sample.time_s, sample.limit, sample.in_flight, sample.throughput_per_s}));
  }
  Json decisions = Json::object();
  for (std::size_t i = 0; i < policies::kLimitReasons; ++i) {
    decisions[std::string(to_string(static_cast<policies::LimitReason>(i)))] = played.decisions[i];
  }
  return {{"policy", played.policy},
          {"offered", run.offered},
          {"completed", run.completed},
          {"rejected", run.rejected},
          {"timed_out", run.timed_out},
          {"crashed", run.crashed},
          {"ended_s", run.ended_s},
          {"throughput_per_s", run.throughput_per_s},
          {"latency_s", times_json(run.latency_s)},
          {"wait_s", times_json(run.wait_s)},
          {"in_flight", {{"max", run.in_flight_max}, {"mean", run.in_flight_mean}}},
          {"limit",
           {{"min", run.limit_min},
            {"max", run.limit_max},
            {"mean", run.limit_mean},
            {"last", run.limit_last}}},
          {"settled_s", run.settled_s ? Json(*run.settled_s) : Json(nullptr)},
          {"knee", knee_json(run)},
          {"decisions", decisions},
          {"series", series}};
}

}  // namespace

std::string render_simulation_text(const std::vector<Played>& played) {
  std::string text =
      "                              latency s              wait s               in flight        "
      "limit          settled\n"
      "policy     throughput/s        mean        p99        mean        p99    mean   max    min  "
      "last   max         s   rejected timed out\n";
  for (const Played& each : played) text += line_of(each);
  for (const Played& each : played) text += decisions_of(each);
  return text;
}

std::string render_simulation_json(const Played& played) { return json_of(played).dump() + '\n'; }

std::string render_simulations_json(const std::vector<Played>& played) {
  Json list = Json::array();
  for (const Played& each : played) list.push_back(json_of(each));
  return Json{{"policies", list}}.dump() + '\n';
}

}  // namespace streamgate::tools

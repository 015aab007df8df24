// SPDX-License-Identifier: Apache-2.0
#include "probe/render.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <optional>
#include <vector>

#include "format.h"

namespace streamgate::tools {
namespace {

using Json = nlohmann::ordered_json;
namespace probe = executor::probe;
using policies::ClassLimits;

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

// ---- for people ----

std::string boundary(const ClassLimits& limits) {
  if (!limits.first_failure) return "none";
  return limits.failure + " at " + std::to_string(*limits.first_failure);
}

std::string throughput(const ClassLimits& limits) {
  std::string text;
  for (const policies::Throughput& at : limits.throughput) {
    text += format("%s%lld", text.empty() ? "" : " ", std::llround(at.per_second));
  }
  return text.empty() ? "-" : text;
}

std::string class_line(const probe::ClassReport& report) {
  const ClassLimits& limits = report.limits;
  return format("%-8s %7zu  %-14s %10llu  %8.2g  %4s  ",
                std::string(to_string(limits.op_class)).c_str(), limits.ceiling,
                boundary(limits).c_str(), static_cast<unsigned long long>(limits.trials),
                limits.failure_probability_upper,
                limits.knee ? std::to_string(*limits.knee).c_str() : "-") +
         throughput(limits) + (report.measured ? "" : "  (not measured enough)") + '\n';
}

std::string pair_line(const probe::PairReport& pair) {
  const std::string names =
      std::string(to_string(pair.a)) + " and " + std::string(to_string(pair.b));
  if (!pair.evidence.empty()) return names + " must not run together\n";
  if (!pair.measured) return names + ": not measured enough\n";
  return "";
}

std::string overflow_line(const probe::OverflowReport& overflow) {
  std::string text = std::to_string(overflow.workers) + " workers beside " +
                     std::to_string(overflow.width) + " threads of " +
                     std::string(to_string(overflow.op_class)) + ": ";
  if (!overflow.failure.empty()) return text + "not measured, as " + overflow.failure + '\n';
  return text + format("%.2f times the operations (%lld/s, alone %lld/s)\n",
                       overflow.together / overflow.alone, std::llround(overflow.together),
                       std::llround(overflow.alone));
}

std::string evidence_text(const std::vector<probe::Failure>& evidence) {
  std::string text;
  for (const probe::Failure& failure : evidence) {
    text += "  " + failure_line(failure) + '\n';
    if (failure.text.empty()) continue;
    std::string indented = "    " + failure.text + '\n';
    for (std::size_t at = indented.find('\n'); at + 1 < indented.size();
         at = indented.find('\n', at + 1)) {
      indented.insert(at + 1, "    ");
    }
    text += indented;
  }
  return text;
}

// ---- for programs ----

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json evidence_json(const std::vector<probe::Failure>& evidence) {
  Json list = Json::array();
  for (const probe::Failure& failure : evidence) {
    Json parties = Json::object();
    for (const probe::Party& party : failure.parties) {
      parties[std::string(to_string(party.op_class))] = party.width;
    }
    list.push_back({{"failure", failure.name},
                    {"widths", parties},
                    {"class", to_string(failure.op_class)},
                    {"operation", failure.operation},
                    {"thread", failure.thread == 0 ? Json(nullptr) : Json(failure.thread)},
                    {"iteration", failure.iteration},
                    {"text", failure.text}});
  }
  return list;
}

Json class_json(const probe::ClassReport& report) {
  const ClassLimits& limits = report.limits;
  Json throughput = Json::array();
  for (const policies::Throughput& at : limits.throughput) {
    throughput.push_back({{"threads", at.threads}, {"per_second", at.per_second}});
  }
  Json widths = Json::array();
  for (const probe::WidthReport& width : report.widths) {
    widths.push_back({{"threads", width.width},
                      {"operations", width.operations},
                      {"failures", width.failures},
                      {"processes", width.processes}});
  }
  return {{"class", to_string(limits.op_class)},
          {"ceiling", limits.ceiling},
          {"first_failure", or_null(limits.first_failure)},
          {"failure", limits.failure.empty() ? Json(nullptr) : Json(limits.failure)},
          {"trials", limits.trials},
          {"failures", limits.failures},
          {"failure_probability_upper", limits.failure_probability_upper},
          {"knee", or_null(limits.knee)},
          {"throughput", throughput},
          {"measured", report.measured},
          {"operation", report.operation},
          {"widths", widths},
          {"evidence", evidence_json(report.evidence)}};
}

}  // namespace

std::string failure_line(const probe::Failure& failure) {
  std::string text = failure.name + " at " + to_string(failure.parties);
  if (!failure.operation.empty()) text += ", " + failure.operation;
  if (failure.thread != 0) text += ", thread " + std::to_string(failure.thread);
  return text + ", iteration " + std::to_string(failure.iteration);
}

std::string render_probe_text(const probe::ProbeReport& report) {
  std::string text =
      "class    ceiling  first failure      trials  p at most  knee  operations/s at 1, 2, ... "
      "threads\n";
  for (const probe::ClassReport& measured : report.classes) text += class_line(measured);
  for (const probe::PairReport& pair : report.pairs) text += pair_line(pair);
  if (report.overflow) text += overflow_line(*report.overflow);
  std::string evidence;
  for (const probe::ClassReport& measured : report.classes) {
    evidence += evidence_text(measured.evidence);
  }
  for (const probe::PairReport& pair : report.pairs) evidence += evidence_text(pair.evidence);
  if (!evidence.empty()) text += "evidence:\n" + evidence;
  return text + format("%s, %zu processes, %.1f s, confidence %g\n",
                       report.limits.provenance.device.c_str(), report.processes,
                       seconds(report.elapsed), report.confidence);
}

std::string render_probe_json(const probe::ProbeReport& report) {
  const policies::Provenance& where = report.limits.provenance;
  Json classes = Json::array();
  for (const probe::ClassReport& measured : report.classes) {
    classes.push_back(class_json(measured));
  }
  Json incompatible = Json::array();
  for (const auto& [a, b] : report.limits.incompatible) {
    incompatible.push_back({to_string(a), to_string(b)});
  }
  Json pairs = Json::array();
  for (const probe::PairReport& pair : report.pairs) {
    pairs.push_back({{"classes", {to_string(pair.a), to_string(pair.b)}},
                     {"compatible", pair.evidence.empty()},
                     {"measured", pair.measured},
                     {"trials", pair.operations},
                     {"evidence", evidence_json(pair.evidence)}});
  }
  Json overflow = nullptr;
  if (const auto& gain = report.limits.overflow) {
    overflow = {{"workers", gain->workers},
                {"gain", gain->gain},
                {"class", to_string(report.overflow->op_class)},
                {"threads", report.overflow->width},
                {"alone_per_second", report.overflow->alone},
                {"together_per_second", report.overflow->together}};
  }
  const Json json = {{"provenance",
                      {{"backend", where.backend},
                       {"libtorch", where.libtorch},
                       {"device", where.device},
                       {"driver", where.driver},
                       {"os", where.os}}},
                     {"classes", classes},
                     {"incompatible", incompatible},
                     {"overflow", overflow},
                     {"pairs", pairs},
                     {"measured", report.measured()},
                     {"confidence", report.confidence},
                     {"max_threads", report.max_threads},
                     {"processes", report.processes},
                     {"elapsed_s", seconds(report.elapsed)}};
  // What a dying process wrote need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace streamgate::tools

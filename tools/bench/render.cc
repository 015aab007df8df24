// SPDX-License-Identifier: Apache-2.0
#include "bench/render.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "format.h"

namespace streamgate::tools {
namespace {

using Json = nlohmann::ordered_json;

const Series& best_of(const BenchRun& run) { return run.curve[run.best].series; }

// ---- for people ----

std::string line_of(const std::string& name, const Series& series, const Series& over,
                    const char* note) {
  const Spread rate = spread_of(series.per_second);
  const Spread ratio = ratio_of(series.per_second, over.per_second);
  return format("  %-22s %11.5g  (%.5g to %.5g)   %5.2fx (%.2f to %.2f)%s\n", name.c_str(),
                rate.median, rate.low, rate.high, ratio.median, ratio.low, ratio.high, note);
}

std::string text_of(const BenchRun& run) {
  std::string text =
      format("\n%zu client threads: requests a second, and against the best width\n", run.clients);
  for (std::size_t i = 0; i < run.curve.size(); ++i) {
    const BenchPoint& point = run.curve[i];
    text += line_of(format("%zu at once, %zu intra-op", point.width, point.intra_op_threads),
                    point.series, best_of(run),
                    i == run.best && i == run.knee ? "  best, knee"
                    : i == run.best                ? "  best"
                    : i == run.knee                ? "  knee"
                                                   : "");
  }
  text += "  in rounds of their own, against the best width there\n";
  text += line_of("the best width, again", run.best_again, run.best_again, "");
  text += line_of("adaptive", run.adaptive, run.best_again, "");
  text += line_of("plain threads", run.plain, run.best_again, "");
  text += line_of("global mutex", run.mutex, run.best_again, "");

  const Spread plain = ratio_of(run.adaptive.per_second, run.plain.per_second);
  const Spread mutex = ratio_of(run.adaptive.per_second, run.mutex.per_second);
  text += format(
      "  adaptive is %.2fx (%.2f to %.2f) of plain threads, %.2fx (%.2f to %.2f) of a "
      "global mutex\n",
      plain.median, plain.low, plain.high, mutex.median, mutex.low, mutex.high);
  text += format("  policy %s: limit %zu of %zu, %zu intra-op", run.gate.policy.c_str(),
                 run.gate.limit, run.gate.ceiling, run.adaptive_intra_op_threads);
  if (run.gate.knee) {
    text += format("; knee %zu (%zu to %zu)", run.gate.knee->limit, run.gate.knee->low,
                   run.gate.knee->high);
  }
  const std::optional<double> settled = settled_seconds(run);
  text += settled ? format("; at 90 %% of that %.2g s after a cold start", *settled)
                  : std::string("; not at 90 % of that before the rounds");
  const std::optional<double> best = cold_seconds_to_best(run);
  return text + (best ? format(", at %g of the best %.2g s after\n", kGoalOfBest, *best)
                      : format(", not at %g of the best before the rounds\n", kGoalOfBest));
}

// ---- for programs ----

Json spread_json(const Spread& spread) {
  return {{"median", spread.median}, {"low", spread.low}, {"high", spread.high}};
}

Json series_json(const Series& series, const Series& best) {
  return {{"per_second", spread_json(spread_of(series.per_second))},
          {"of_best", spread_json(ratio_of(series.per_second, best.per_second))},
          {"rounds", series.per_second}};
}

Json baseline_json(const BenchRun& run, const Series& series) {
  Json json = series_json(series, run.best_again);
  json["adaptive_over_it"] = spread_json(ratio_of(run.adaptive.per_second, series.per_second));
  return json;
}

Json point_json(const BenchRun& run, std::size_t i) {
  Json json = {{"width", run.curve[i].width}, {"intra_op_threads", run.curve[i].intra_op_threads}};
  json.update(series_json(run.curve[i].series, best_of(run)));
  return json;
}

Json json_of(const BenchRun& run) {
  Json curve = Json::array();
  for (std::size_t i = 0; i < run.curve.size(); ++i) curve.push_back(point_json(run, i));
  Json adaptive = series_json(run.adaptive, run.best_again);
  adaptive["policy"] = run.gate.policy;
  adaptive["limit"] = run.gate.limit;
  adaptive["ceiling"] = run.gate.ceiling;
  adaptive["intra_op_threads"] = run.adaptive_intra_op_threads;
  adaptive["knee"] = nullptr;
  if (run.gate.knee) {
    adaptive["knee"] = {{"limit", run.gate.knee->limit},
                        {"low", run.gate.knee->low},
                        {"high", run.gate.knee->high}};
  }
  const std::optional<double> settled = settled_seconds(run);
  adaptive["settled_s"] = settled ? Json(*settled) : Json(nullptr);
  const std::optional<double> to_best = cold_seconds_to_best(run);
  adaptive["cold_start"] = {{"seconds_to_0.97_of_best", to_best ? Json(*to_best) : Json(nullptr)},
                            {"slice_s", run.cold_slice_seconds},
                            {"per_second", run.cold_start}};
  const auto place = [&](std::size_t i) {
    return Json{{"width", run.curve[i].width}, {"intra_op_threads", run.curve[i].intra_op_threads}};
  };
  return {{"clients", run.clients},
          {"curve", std::move(curve)},
          {"best", place(run.best)},
          {"knee", place(run.knee)},
          {"best_again", series_json(run.best_again, run.best_again)},
          {"adaptive", std::move(adaptive)},
          {"plain_threads", baseline_json(run, run.plain)},
          {"global_mutex", baseline_json(run, run.mutex)}};
}

}  // namespace

std::string render_bench_text(const BenchReport& report) {
  std::string text = format(
      "%s on %s (%s, libtorch %s, %zu cores); %zu rounds, %g s a turn; medians and quartiles\n",
      report.model.c_str(), report.backend.c_str(), report.device.c_str(), report.libtorch.c_str(),
      report.cores, report.rounds, report.seconds);
  for (const BenchRun& run : report.runs) text += text_of(run);
  return text;
}

std::string render_bench_json(const BenchReport& report) {
  Json runs = Json::array();
  for (const BenchRun& run : report.runs) runs.push_back(json_of(run));
  const Json json = {{"model", report.model},       {"backend", report.backend},
                     {"libtorch", report.libtorch}, {"device", report.device},
                     {"cores", report.cores},       {"rounds", report.rounds},
                     {"seconds", report.seconds},   {"runs", std::move(runs)}};
  return json.dump(2) + '\n';
}

}  // namespace streamgate::tools

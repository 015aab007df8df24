// SPDX-License-Identifier: Apache-2.0
#include "doctor/render.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string_view>

#include "doctor/diagnose.h"
#include "doctor/operation.h"

namespace streamgate::tools {
namespace {

using Json = nlohmann::ordered_json;

// ---- for people ----

/// "15,540": a whole number with its thousands apart.
std::string with_commas(double value) {
  std::string text = std::to_string(std::llround(value));
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::string count(std::size_t number, const std::string& thing) {
  return std::to_string(number) + " " + thing + (number == 1 ? "" : "s");
}

std::string or_else(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

template <typename Strings>
std::string joined(const Strings& strings) {
  std::string text;
  for (const auto& string : strings) {
    text += (text.empty() ? "" : ", ") + std::filesystem::path(string).string();
  }
  return text;
}

std::string libtorch_text(const LibtorchFacts& libtorch) {
  std::string text = libtorch.version;
  if (libtorch.version != libtorch.header_version) {
    text += " (compiled for " + libtorch.header_version + ")";
  }
  return text + ", git hash " + or_else(libtorch.git_hash, "unknown");
}

std::string blas_text(const BlasFacts& blas) {
  static constexpr const char* kNames[] = {"the reference BLAS", "OpenBLAS", "MKL", "BLIS", "ATLAS",
                                           "Accelerate",         "unknown"};
  std::string text = kNames[static_cast<std::size_t>(blas.kind)];
  if (blas.threading == BlasThreading::kSerial) text += ", serial";
  if (blas.threading == BlasThreading::kOpenMp) text += ", with OpenMP";
  if (blas.own_threads) {
    text += ", with " + count(*blas.own_threads, "thread") + " of its own";
  } else if (blas.threading == BlasThreading::kPthread) {
    text += ", with threads of its own";
  }
  return text;
}

std::string cores_text(const MachineFacts& machine) {
  std::string text = std::to_string(machine.cores);
  if (machine.usable_cores != machine.cores) {
    text +=
        ", of which " + std::to_string(machine.usable_cores) + " by the affinity of this process";
  }
  if (!machine.cpu_quota_cores) return text + ", no CPU quota";
  std::ostringstream quota;
  quota << *machine.cpu_quota_cores;
  return text + ", CPU quota " + quota.str();
}

std::string workers_text(const Report& report) {
  const std::size_t asked = report.effective ? report.effective->overflow.workers : 0;
  const std::string text = asked == 0 ? "none asked for" : "at most " + std::to_string(asked);
  if (!report.workers.error.empty()) return text + ", and none can be had";
  return text + "; there are " + std::to_string(report.workers.available_bytes >> 20) +
         " MiB to share";
}

std::string config_text(const ConfigFacts& config) {
  const std::string file = config.file ? config.file->string() : "not given: the defaults";
  if (!config.errors.empty()) return file + ", " + count(config.errors.size(), "error");
  return config.file ? file + ", valid" : file;
}

std::string gates_text(const policies::Config& config) {
  std::string text;
  for (const policies::OpClass op_class : policies::kAllOpClasses) {
    const policies::GateConfig& gate = config.gates[policies::index_of(op_class)];
    text += (text.empty() ? "" : ", ") + std::string(to_string(op_class)) + " " +
            std::to_string(gate.limit) + " of " + std::to_string(gate.ceiling);
  }
  return text;
}

std::string limits_text(const LimitsFacts& limits) {
  const executor::Snapshot::Limits& used = limits.used;
  if (used.file.empty()) return used.needed ? "none measured" : "none measured, none needed";
  if (!limits.errors.empty()) return used.file + ", " + count(limits.errors.size(), "error");
  return used.file + (used.state == executor::LimitsState::kUsed ? ", used" : ", not used: ") +
         joined(used.differences);
}

/// Label and value of each line of the table.
using Rows = std::vector<std::pair<std::string_view, std::string>>;

Rows rows_of(const Report& report) {
  const executor::Provenance& device = report.device.provenance;
  Rows rows = {{"streamgate", report.version + ", backends: " + joined(report.backends)},
               {"libtorch", libtorch_text(report.libtorch)},
               {"", or_else(report.libtorch.path.string(), "file unknown")},
               {"BLAS", blas_text(report.blas)},
               {"", or_else(report.blas.library.string(), "file unknown")},
               {"OpenMP", or_else(joined(report.openmp_runtimes), "none")},
               {"device", device.backend + ": " + or_else(device.device, "none")},
               {"driver", or_else(device.driver, "none")},
               {"stream tier", report.device.stream_tier},
               {"system", or_else(device.os, "unknown")},
               {"cores", cores_text(report.machine)},
               {"workers", workers_text(report)},
               {"speed", report.operation.error.empty()
                             ? "linear of " + std::string(kOperationShape) + " on 1 thread: " +
                                   with_commas(report.operation.per_second) + " a second"
                             : "none: libtorch cannot run a linear"},
               {"config", config_text(report.config)}};
  if (report.effective) {
    const policies::Config::Executor& executor = report.effective->executor;
    rows.emplace_back("executor", count(executor.threads, "thread") + " x " +
                                      std::to_string(executor.intra_op_threads) + " intra-op, " +
                                      count(executor.streams, "stream"));
    rows.emplace_back("gates", gates_text(*report.effective) + " (limit of ceiling)");
  }
  rows.emplace_back("limits", limits_text(report.limits));
  return rows;
}

// ---- for programs ----

Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }
template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json strings(const std::vector<std::filesystem::path>& paths) {
  Json list = Json::array();
  for (const std::filesystem::path& path : paths) list.push_back(path.string());
  return list;
}

Json effective_json(const std::optional<policies::Config>& effective) {
  if (!effective) return nullptr;
  Json gates = Json::object();
  for (const policies::OpClass op_class : policies::kAllOpClasses) {
    const policies::GateConfig& gate = effective->gates[policies::index_of(op_class)];
    gates[std::string(to_string(op_class))] = {
        {"policy", gate.policy}, {"limit", gate.limit}, {"ceiling", gate.ceiling}};
  }
  return {{"threads", effective->executor.threads},
          {"intra_op_threads", effective->executor.intra_op_threads},
          {"streams", effective->executor.streams},
          {"gates", gates}};
}

std::string_view config_state(const ConfigFacts& config) {
  if (!config.errors.empty()) return "invalid";
  return config.file ? "valid" : "not_given";
}

Json limits_json(const LimitsFacts& limits) {
  if (limits.used.file.empty()) return nullptr;
  return {{"file", limits.used.file},
          {"state", limits.errors.empty() ? to_string(limits.used.state) : "unusable"},
          {"differences", limits.used.differences},
          {"errors", limits.errors}};
}

Json findings_json(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"severity", to_string(finding.severity)},
                    {"id", finding.id},
                    {"what", finding.what},
                    {"remedy", finding.remedy}});
  }
  return list;
}

std::string_view status_of(const std::vector<Finding>& findings) {
  switch (exit_code_of(findings)) {
    case kFine:
      return "fine";
    case kWarnings:
      return "warnings";
    case kUnusable:
      break;
  }
  return "unusable";
}

}  // namespace

std::string render_text(const Report& report, const std::vector<Finding>& findings) {
  const Rows rows = rows_of(report);
  std::size_t width = 0;
  for (const auto& [label, value] : rows) width = std::max(width, label.size());
  std::string text;
  for (const auto& [label, value] : rows) {
    text += std::string(label) + std::string(width + 2 - label.size(), ' ') + value + "\n";
  }
  std::size_t errors = 0;
  for (const Finding& finding : findings) {
    const bool is_error = finding.severity == Severity::kError;
    errors += is_error ? 1 : 0;
    text += (is_error ? "\nERROR    " : "\nWARNING  ") + finding.what +
            "\n  remedy: " + finding.remedy + "\n";
  }
  if (findings.empty()) return text + "\nFine.\n";
  if (errors == 0) return text + "\n" + count(findings.size(), "warning") + ".\n";
  return text + "\nUnusable: " + count(errors, "error") + ", " +
         count(findings.size() - errors, "warning") + ".\n";
}

std::string render_json(const Report& report, const std::vector<Finding>& findings) {
  const executor::Provenance& device = report.device.provenance;
  const bool ran = report.operation.error.empty();
  const Json json = {
      {"status", status_of(findings)},
      {"streamgate", {{"version", report.version}, {"backends", report.backends}}},
      {"libtorch",
       {{"version", report.libtorch.version},
        {"header_version", report.libtorch.header_version},
        {"git_hash", or_null(report.libtorch.git_hash)},
        {"path", or_null(report.libtorch.path.string())},
        {"other_paths", strings(report.libtorch.other_paths)}}},
      {"blas",
       {{"kind", to_string(report.blas.kind)},
        {"threading", to_string(report.blas.threading)},
        {"own_threads", or_null(report.blas.own_threads)},
        {"library", or_null(report.blas.library.string())}}},
      {"openmp", {{"runtimes", strings(report.openmp_runtimes)}}},
      {"device",
       {{"backend", device.backend},
        {"name", or_null(device.device)},
        {"driver", or_null(device.driver)},
        {"stream_tier", report.device.stream_tier}}},
      {"machine",
       {{"os", or_null(device.os)},
        {"cores", report.machine.cores},
        {"usable_cores", report.machine.usable_cores},
        {"cpu_quota_cores", or_null(report.machine.cpu_quota_cores)}}},
      {"workers",
       {{"error", or_null(report.workers.error)},
        {"available_bytes", report.workers.available_bytes},
        {"max_descriptors", report.workers.max_descriptors},
        {"cuda_daemon", report.workers.cuda_daemon}}},
      {"operation",
       {{"name", kOperation},
        {"shape", kOperationShape},
        {"threads", 1},
        {"per_second", ran ? Json(std::llround(report.operation.per_second)) : Json(nullptr)},
        {"error", or_null(report.operation.error)}}},
      {"config",
       {{"file", report.config.file ? Json(report.config.file->string()) : Json(nullptr)},
        {"state", config_state(report.config)},
        {"errors", report.config.errors}}},
      {"effective", effective_json(report.effective)},
      {"limits", limits_json(report.limits)},
      {"findings", findings_json(findings)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string_view to_string(BlasKind kind) noexcept {
  switch (kind) {
    case BlasKind::kReference:
      return "reference";
    case BlasKind::kOpenBlas:
      return "openblas";
    case BlasKind::kMkl:
      return "mkl";
    case BlasKind::kBlis:
      return "blis";
    case BlasKind::kAtlas:
      return "atlas";
    case BlasKind::kAccelerate:
      return "accelerate";
    case BlasKind::kUnknown:
      break;
  }
  return "unknown";
}

std::string_view to_string(BlasThreading threading) noexcept {
  switch (threading) {
    case BlasThreading::kSerial:
      return "serial";
    case BlasThreading::kPthread:
      return "pthread";
    case BlasThreading::kOpenMp:
      return "openmp";
    case BlasThreading::kUnknown:
      break;
  }
  return "unknown";
}

std::string_view to_string(Severity severity) noexcept {
  return severity == Severity::kError ? "error" : "warning";
}

}  // namespace streamgate::tools

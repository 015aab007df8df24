// SPDX-License-Identifier: Apache-2.0
#include "doctor/examine.h"

#include <streamgate/executor/backends/mps.h>
#include <streamgate/executor/executor.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/policies/limits_file.h>
#include <streamgate/policies/op_table.h>

#include <ATen/Context.h>

#include <exception>
#include <sstream>
#include <stdexcept>

#include "doctor/blas.h"
#include "doctor/machine.h"
#include "doctor/operation.h"
#include "doctor/workers.h"

namespace streamgate::tools {
namespace {

LibtorchFacts find_libtorch() {
  return {.version = executor::loaded_torch_version(),
          .header_version = executor::header_torch_version(),
          .git_hash = executor::loaded_torch_git_hash(),
          .path = executor::loaded_torch_path(),
          .other_paths = executor::other_torch_paths()};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The device that the executor would use, as far as it lets itself be asked without one.
executor::Provenance provenance_without_executor(const policies::Config& config) {
  try {
    return executor::make_backend(config)->provenance();
  } catch (const std::exception&) {
    return {.backend = config.executor.backend,
            .libtorch = executor::loaded_torch_identity(),
            .os = executor::operating_system()};
  }
}

/// Fills in config, limits, effective and device: what only an executor knows.
void examine_executor(Report& report) {
  policies::Config config;
  try {
    if (report.config.file) config = policies::load_config(*report.config.file);
    const executor::Executor executor({.config = config});
    report.effective = executor.config();
    report.device.provenance = executor.provenance();
    report.limits.used = executor.snapshot().limits;
    return;
  } catch (const policies::ConfigError& error) {
    report.config.errors = lines_of(error.what());
  } catch (const policies::LimitsError& error) {
    report.limits = {.used = {.file = config.limits.file}, .errors = lines_of(error.what())};
  } catch (const policies::OpTableError& error) {
    report.op_table_errors = lines_of(error.what());
  } catch (const std::invalid_argument& error) {
    // Right in itself, but not on this machine or in this build.
    const std::string source = report.config.file ? report.config.file->string() + ": " : "";
    report.config.errors = {source + error.what()};
  } catch (const std::exception& error) {
    report.executor_error = error.what();
  }
  report.device.provenance = provenance_without_executor(config);
}

/// How this libtorch hands out streams on MPS (facts.md 1.3): "unknown" where it has MPS and this
/// build has no backend for it.
std::string stream_tier() {
  if (!at::hasMPS()) return "none";
  const executor::MpsTier tier = executor::mps_tier();
  return tier == executor::MpsTier::kNone ? "unknown" : std::string(to_string(tier));
}

}  // namespace

Report examine(const std::optional<std::filesystem::path>& config_file) {
  Report report;
  report.version = STREAMGATE_VERSION;
  for (const std::string_view backend : executor::backends()) report.backends.emplace_back(backend);
  report.config.file = config_file;
  examine_executor(report);  // First: it initialises the device, as a service would.
  report.libtorch = find_libtorch();
  report.machine = find_machine();
  report.workers = find_workers();
  report.device.stream_tier = stream_tier();
  report.operation = run_operation();
  report.blas = find_blas();
  report.openmp_runtimes = find_openmp_runtimes();
  return report;
}

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// One function for each thing that can be wrong.
#include "doctor/diagnose.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <string_view>

#include "doctor/operation.h"

namespace streamgate::tools {
namespace {

using Findings = std::vector<Finding>;

std::string number(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

/// "x86_64-linux-gnu": how Debian names the link that chooses the BLAS. The library's own folder
/// says it, where it is Debian's.
std::string debian_triplet(const std::filesystem::path& library) {
  for (const std::filesystem::path& part : library) {
    if (part.string().ends_with("-linux-gnu")) return part.string();
  }
#if defined(__aarch64__)
  return "aarch64-linux-gnu";
#else
  return "x86_64-linux-gnu";
#endif
}

void config_errors(const Report& report, Findings& findings) {
  for (const std::string& error : report.config.errors) {
    findings.push_back(
        {Severity::kError, "config_invalid", error,
         "correct it; `streamgate --print-config` prints a complete file, docs/config.md explains "
         "every key"});
  }
}

void executor_error(const Report& report, Findings& findings) {
  if (report.executor_error.empty()) return;
  findings.push_back(
      {Severity::kError, "executor_failed", "no executor can be made: " + report.executor_error,
       "choose another backend with the key executor.backend, or mend what it says"});
}

void op_table(const Report& report, Findings& findings) {
  for (const std::string& error : report.op_table_errors) {
    findings.push_back({Severity::kError, "op_table_unusable", error,
                        "mend the row, as docs/op_classes.md describes the file; or take "
                        "op_table.file out of the config"});
  }
}

void limits(const Report& report, Findings& findings) {
  const std::string measure = "streamgate probe --backend " + report.device.provenance.backend +
                              " --out FILE, with FILE as limits.file of the config";
  for (const std::string& error : report.limits.errors) {
    findings.push_back({Severity::kError, "limits_unusable", error,
                        "measure again: " + measure + "; or take limits.file out of the config"});
  }
  if (!report.limits.errors.empty() || !report.effective) return;
  const executor::Snapshot::Limits& used = report.limits.used;
  if (used.state == executor::LimitsState::kMismatch) {
    std::string what;
    for (const std::string& each : used.differences) what += (what.empty() ? "" : "; ") + each;
    findings.push_back({Severity::kWarning, "limits_mismatch",
                        "the limits of " + used.file + " were measured elsewhere (" + what +
                            ") and are not used: kernel, graph and exclusive run one at a time",
                        "measure here: " + measure});
  } else if (used.state == executor::LimitsState::kNone && used.needed) {
    findings.push_back({Severity::kWarning, "limits_missing",
                        "no limits were measured for this device: kernel, graph and exclusive run "
                        "one at a time, unless the config has other ceilings",
                        "measure: " + measure});
  }
}

void operation(const Report& report, Findings& findings) {
  // The slowest BLAS was measured at 569 (facts.md 3), and at 39 on a machine with four times more
  // to do than cores. Below this it is not a matter of load.
  constexpr double kAbsurdlySlow = 5;
  if (!report.operation.error.empty()) {
    findings.push_back(
        {Severity::kError, "operation_failed",
         std::string("libtorch cannot run ") + kOperation + ": " + report.operation.error,
         "reinstall libtorch and its BLAS, or choose others; check which are loaded "
         "with LD_DEBUG=libs"});
  } else if (report.operation.per_second < kAbsurdlySlow) {
    findings.push_back({Severity::kWarning, "operation_slow",
                        std::string(kOperation) + " of " + kOperationShape + " runs only " +
                            number(report.operation.per_second) +
                            " times a second; even the slowest BLAS does hundreds",
                        "look for other load on the machine, an emulated CPU, or a sanitizer in "
                        "libtorch or its BLAS"});
  }
}

void headers_differ(const Report& report, Findings& findings) {
  const LibtorchFacts& libtorch = report.libtorch;
  // A packager's suffix is no other version; nor is the note of loaded_torch_version().
  const auto core = [](const std::string& version) {
    return version.substr(0, version.find_first_of("+ "));
  };
  if (core(libtorch.version) == core(libtorch.header_version)) return;
  findings.push_back(
      {Severity::kWarning, "libtorch_headers_differ",
       "compiled with the headers of libtorch " + libtorch.header_version + " but running on " +
           libtorch.version + ", " + libtorch.path.string() +
           ": libtorch promises no binary compatibility between versions",
       "build again with Torch_DIR set to the libtorch you want, or take the other one "
       "out of LD_LIBRARY_PATH"});
}

void other_libtorch(const Report& report, Findings& findings) {
  for (const std::filesystem::path& other : report.libtorch.other_paths) {
    findings.push_back(
        {Severity::kWarning, "second_libtorch",
         "there is a second libtorch on the search path, " + other.string() +
             "; the one in use is " + report.libtorch.path.string(),
         "the loader takes the first it finds in LD_LIBRARY_PATH, then in the path "
         "built into the program (Torch_DIR when it was built), then in the system's "
         "folders; remove one, or set these so that the one you mean comes first"});
  }
}

void blas(const Report& report, Findings& findings) {
  const BlasFacts& blas = report.blas;
  const std::string choose =
      "update-alternatives --config libblas.so.3-" + debian_triplet(blas.library);
  if (blas.kind == BlasKind::kReference) {
    findings.push_back(
        {Severity::kWarning, "reference_blas",
         "libtorch runs on the reference BLAS, " + blas.library.string() +
             ": OpenBLAS was measured 27 times faster (a 32x256x256 linear on libtorch "
             "1.13, 2 cores: 15,540 a second against 569)",
         "apt-get install libopenblas0-openmp; if it is installed already, " + choose +
             ", and look at LD_LIBRARY_PATH"});
  }
  if (!blas.own_threads || !report.effective) return;
  const policies::Config::Executor& executor = report.effective->executor;
  if (*blas.own_threads <= executor.intra_op_threads) return;
  findings.push_back(
      {Severity::kWarning, "blas_own_threads",
       "this OpenBLAS is the pthread one: it uses " + std::to_string(*blas.own_threads) +
           " threads of its own for a product, whatever libtorch was told (" +
           std::to_string(executor.intra_op_threads) + "), so they multiply with the executor's " +
           std::to_string(executor.threads) + " threads",
       "apt-get install libopenblas0-openmp and " + choose + "; or set OPENBLAS_NUM_THREADS=" +
           std::to_string(executor.intra_op_threads) + " in the service's environment"});
}

void openmp(const Report& report, Findings& findings) {
  if (report.openmp_runtimes.size() < 2) return;
  std::string files;
  for (const std::filesystem::path& runtime : report.openmp_runtimes) {
    files += (files.empty() ? "" : " and ") + runtime.string();
  }
  findings.push_back({Severity::kWarning, "two_openmp_runtimes",
                      "more than one OpenMP runtime is loaded: " + files +
                          "; each has threads of its own, and a limit set in one is unknown to the "
                          "other",
                      "take libtorch and BLAS from one source, so that they share a runtime; "
                      "LD_DEBUG=files shows what loads each"});
}

void cores(const Report& report, Findings& findings) {
  if (!report.effective) return;
  const policies::Config::Executor& executor = report.effective->executor;
  const std::size_t product = executor.threads * executor.intra_op_threads;
  const std::string has = "the executor has " + std::to_string(executor.threads) + " x " +
                          std::to_string(executor.intra_op_threads) + " intra-op threads";
  const std::optional<double>& quota = report.machine.cpu_quota_cores;
  if (quota && *quota < static_cast<double>(product)) {
    const auto whole = std::max<std::size_t>(1, static_cast<std::size_t>(*quota));
    findings.push_back({Severity::kWarning, "cpu_quota",
                        has + ", but its control group may use only " + number(*quota) +
                            " cores: the kernel stops all of them for the rest of every period in "
                            "which they used that up",
                        "set executor.threads = " + std::to_string(whole) +
                            " and executor.intra_op_threads = 1, or raise the quota"});
  }
  if (executor.intra_op_threads > 1 && product > report.machine.usable_cores) {
    findings.push_back({Severity::kWarning, "oversubscribed",
                        has + " on " + std::to_string(report.machine.usable_cores) +
                            " cores: together they were measured up to 200 times slower than with "
                            "1 intra-op thread",
                        "set executor.intra_op_threads = 1, and take "
                        "executor.allow_oversubscription out of the config"});
  }
}

void workers(const Report& report, Findings& findings) {
  if (!report.effective) return;
  const policies::Config::Overflow& overflow = report.effective->overflow;
  if (overflow.workers == 0 || overflow.policy == "never") return;
  const std::string asked = "overflow.workers = " + std::to_string(overflow.workers);
  if (!report.workers.error.empty()) {
    findings.push_back({Severity::kWarning, "workers_unavailable",
                        asked + ", but worker processes cannot be had: " + report.workers.error,
                        "workers need Linux 5.4, memfd_create and pidfd_open, which a container's "
                        "seccomp profile may forbid; set overflow.workers = 0 to do without"});
    return;
  }
  const std::size_t bytes = overflow.workers * 2 * overflow.arena_bytes;
  if (bytes > report.workers.available_bytes) {
    findings.push_back(
        {Severity::kWarning, "workers_memory",
         asked + " take " + std::to_string(bytes >> 20) + " MiB of shared memory, and " +
             std::to_string(report.workers.available_bytes >> 20) +
             " MiB can be had: those that do not fit are not started",
         "lower overflow.workers or overflow.arena_bytes, or raise the memory limit of the control "
         "group; the size of /dev/shm does not matter"});
  }
  // Three of each worker, some while one is started, and the service's own.
  constexpr std::size_t kOthers = 64;
  const std::size_t descriptors = 3 * overflow.workers + kOthers;
  if (descriptors > report.workers.max_descriptors) {
    findings.push_back({Severity::kWarning, "workers_descriptors",
                        asked + " take up to " + std::to_string(descriptors) +
                            " descriptors with those of a service, and a process here may have " +
                            std::to_string(report.workers.max_descriptors),
                        "raise the limit (ulimit -n, LimitNOFILE) or lower overflow.workers"});
  }
  if (report.effective->executor.backend == "cuda" && !report.workers.cuda_daemon) {
    findings.push_back({Severity::kWarning, "workers_take_turns",
                        asked + ", but NVIDIA's multi-process daemon does not run: processes take "
                                "turns on the device, and many do less than one",
                        "start it before the service, as the same user: nvidia-cuda-mps-control -d "
                        "(echo quit | nvidia-cuda-mps-control ends it); or overflow.workers = 0"});
  }
}

}  // namespace

std::vector<Finding> diagnose(const Report& report) {
  Findings findings;
  for (const auto check : {config_errors, executor_error, limits, op_table, operation,
                           headers_differ, other_libtorch, blas, openmp, cores, workers}) {
    check(report, findings);
  }
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  return findings;
}

ExitCode exit_code_of(const std::vector<Finding>& findings) noexcept {
  ExitCode code = kFine;
  for (const Finding& finding : findings) {
    code = std::max(code, finding.severity == Severity::kError ? kUnusable : kWarnings);
  }
  return code;
}

}  // namespace streamgate::tools

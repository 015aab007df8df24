// SPDX-License-Identifier: Apache-2.0
//
// The backends that can be probed, by name.
#include <streamgate/executor/probe/workload.h>

#if STREAMGATE_WITH_CUDA
#include <streamgate/executor/probe/workloads/cuda.h>
#endif
#include <streamgate/executor/probe/workloads/emulator.h>
#include <streamgate/executor/probe/workloads/libtorch.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <stdexcept>

namespace streamgate::executor::probe {
namespace {

policies::FaultModel fault_model_of(const WorkloadOptions& options) {
  return options.fault_model.empty() ? policies::FaultModel{}
                                     : policies::find_fault_model(options.fault_model);
}

struct Entry {
  std::string_view name;
  std::unique_ptr<Workload> (*make)(const WorkloadOptions& options);
};

constexpr std::string_view kEmulator = "emulator";
[[maybe_unused]] constexpr std::string_view kCuda = "cuda";

constexpr Entry kEntries[] = {
#if STREAMGATE_WITH_TORCH
    {"cpu", [](const WorkloadOptions&) { return make_cpu_workload(); }},
#endif
#if STREAMGATE_WITH_CUDA
    {kCuda,
     [](const WorkloadOptions& options) {
       return make_cuda_workload(capture_mode_of(options.capture_mode));
     }},
#endif
    {kEmulator,
     [](const WorkloadOptions& options) {
       return make_emulator_workload(fault_model_of(options));
     }},
#if STREAMGATE_WITH_TORCH && STREAMGATE_MPS_TIER != 0
    {"mps", [](const WorkloadOptions&) { return make_mps_workload(); }},
#endif
};

const Entry& entry_of(const WorkloadOptions& options) {
  std::string known;
  for (const Entry& entry : kEntries) {
    if (entry.name == options.backend) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw std::invalid_argument("the backend '" + options.backend +
                              "' cannot be probed by this build of streamgate; it has: " + known);
}

}  // namespace

void check_workload(const WorkloadOptions& options) {
  if (entry_of(options).name == kEmulator) {
    static_cast<void>(fault_model_of(options));
  } else if (!options.fault_model.empty()) {
    throw std::invalid_argument("a fault model is for the backend emulator only");
  }
  if (options.capture_mode != WorkloadOptions{}.capture_mode && options.backend != kCuda) {
    throw std::invalid_argument("a capture mode is for the backend cuda only");
  }
}

std::unique_ptr<Workload> make_workload(const WorkloadOptions& options) {
  check_workload(options);
  return entry_of(options).make(options);
}

std::vector<std::string_view> probed_backends() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kEntries) names.push_back(entry.name);
  return names;
}

}  // namespace streamgate::executor::probe

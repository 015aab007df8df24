// SPDX-License-Identifier: Apache-2.0
//
// The backends of this build, by name.
#include <streamgate/executor/backends/cpu.h>
#include <streamgate/executor/backends/cuda.h>
#include <streamgate/executor/backends/emulator.h>
#include <streamgate/executor/backends/inline.h>
#include <streamgate/executor/backends/mps.h>

#include <stdexcept>
#include <string>

namespace streamgate::executor {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(const policies::Config& config);
};

constexpr Entry kEntries[] = {
#if STREAMGATE_WITH_TORCH
    {"cpu", [](const policies::Config&) { return make_cpu_backend(); }},
#endif
#if STREAMGATE_WITH_CUDA
    {"cuda", [](const policies::Config& config) { return make_cuda_backend(config); }},
#endif
    {"emulator", [](const policies::Config& config) { return make_emulator_backend(config); }},
#if STREAMGATE_MPS_TIER != 0
    {"mps", [](const policies::Config& config) { return make_mps_backend(config); }},
#endif
    {"inline", [](const policies::Config&) { return make_inline_backend(); }},
};

}  // namespace

std::vector<std::string_view> backends() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kEntries) names.push_back(entry.name);
  return names;
}

std::unique_ptr<Backend> make_backend(const policies::Config& config) {
  const std::string_view name = config.executor.backend;
  std::string known;
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.make(config);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw std::invalid_argument("executor.backend '" + std::string(name) +
                              "' is not in this build of streamgate; it has: " + known);
}

}  // namespace streamgate::executor

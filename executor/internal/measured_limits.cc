// SPDX-License-Identifier: Apache-2.0
//
// The rules by which measured limits, the config and nothing at all become ceilings and limits.
#include <streamgate/executor/internal/measured_limits.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::OpClass;

std::string key(OpClass op_class, std::string_view leaf) {
  return "gate." + std::string(to_string(op_class)) + "." + std::string(leaf);
}

/// Where a limit starts that neither config nor probe has said.
std::size_t first_limit(OpClass op_class, const policies::Config& config, std::size_t ceiling,
                        const Backend& backend) {
  if (op_class != OpClass::kRaw) return ceiling;
  const std::size_t width =
      backend.first_width(config.executor.threads, config.executor.intra_op_threads);
  return std::min(width, ceiling);
}

}  // namespace

const policies::ClassLimits* MeasuredLimits::find(OpClass op_class) const noexcept {
  for (const policies::ClassLimits& each : limits.classes) {
    if (each.op_class == op_class) return &each;
  }
  return nullptr;
}

std::optional<std::size_t> MeasuredLimits::ceiling(OpClass op_class) const noexcept {
  const policies::ClassLimits* const measured = find(op_class);
  if (measured == nullptr) return std::nullopt;
  // Exclusive is alone by what it means, however many of it were seen to survive.
  return op_class == OpClass::kExclusive ? 1 : measured->ceiling;
}

bool MeasuredLimits::holds_at_one(OpClass op_class) const noexcept {
  return state.state == LimitsState::kMismatch && op_class != OpClass::kRaw;
}

std::optional<policies::Limits> read_limits(const policies::Config& config) {
  if (config.limits.file.empty()) return std::nullopt;
  return policies::load_limits(config.limits.file);
}

MeasuredLimits judge(std::optional<policies::Limits> limits, const policies::Config& config,
                     const Backend& backend) {
  MeasuredLimits measured;
  measured.state = {.file = config.limits.file, .needed = backend.needs_limits()};
  measured.read = limits;
  if (!limits) return measured;
  measured.state.differences = policies::differences(limits->provenance, backend.provenance());
  if (measured.state.differences.empty()) {
    measured.state.state = LimitsState::kUsed;
    measured.limits = std::move(*limits);
  } else {
    measured.state.state = LimitsState::kMismatch;
  }
  return measured;
}

std::string notice(const MeasuredLimits& measured, const Backend& backend) {
  const std::string remedy = "; remedy: streamgate probe --backend " + std::string(backend.name()) +
                             " --out FILE, with FILE as limits.file of the config";
  if (measured.state.state == LimitsState::kMismatch) {
    std::string what;
    for (const std::string& each : measured.state.differences) {
      what += (what.empty() ? "" : "; ") + each;
    }
    return "the limits of " + measured.state.file + " were measured elsewhere (" + what +
           ") and are not used: kernel, graph and exclusive run one at a time" + remedy;
  }
  if (measured.state.state == LimitsState::kNone && measured.state.needed) {
    return "no limits were measured for this " + std::string(backend.name()) +
           " device: kernel, graph and exclusive run one at a time, unless the config has other "
           "ceilings" +
           remedy;
  }
  return {};
}

void check_ceilings(const policies::Config& config, const MeasuredLimits& measured) {
  for (const OpClass op_class : policies::kAllOpClasses) {
    const std::size_t wanted = config.gates[index_of(op_class)].ceiling;
    const std::optional<std::size_t> safe = measured.ceiling(op_class);
    if (!safe || wanted <= *safe) continue;
    throw std::invalid_argument(key(op_class, "ceiling") + " = " + std::to_string(wanted) +
                                " is above the ceiling of " + std::to_string(*safe) +
                                " that was measured (" + measured.state.file +
                                "); allowed: at most that, or 0");
  }
}

void resolve_gates(policies::Config& config, const MeasuredLimits& measured, std::size_t streams,
                   const Backend& backend) {
  check_ceilings(config, measured);
  for (const OpClass op_class : policies::kAllOpClasses) {
    policies::GateConfig& gate = config.gates[index_of(op_class)];
    const policies::ClassLimits* const known = measured.find(op_class);
    if (measured.holds_at_one(op_class)) {
      // Not even what the config says: it was said in view of limits that do not hold here. Nor is
      // it an error, or a service would not start after an upgrade of libtorch.
      gate.ceiling = 1;
      gate.limit = 1;
    } else if (gate.ceiling == 0 && known != nullptr) {
      gate.ceiling = *measured.ceiling(op_class);
    } else if (gate.ceiling == 0) {
      // Raw work is safe at any width; it cannot be wider than the streams. For the other classes
      // a width that nobody measured is not assumed.
      gate.ceiling = op_class == OpClass::kRaw ? std::max<std::size_t>(streams, gate.limit) : 1;
    }
    // Silently where it was measured, as the file is right in what it says.
    gate.ceiling = std::min(gate.ceiling, backend.widest(op_class));
    if (gate.limit == 0) {
      gate.limit = known != nullptr && known->knee
                       ? std::min(*known->knee, gate.ceiling)
                       : first_limit(op_class, config, gate.ceiling, backend);
    }
    if (gate.limit > gate.ceiling) {
      throw std::invalid_argument(key(op_class, "limit") + " = " + std::to_string(gate.limit) +
                                  " exceeds its ceiling of " + std::to_string(gate.ceiling) + " (" +
                                  key(op_class, "ceiling") +
                                  (known != nullptr ? ", or as measured)" : ")"));
    }
  }
}

}  // namespace streamgate::executor

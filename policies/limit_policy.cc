// SPDX-License-Identifier: Apache-2.0
//
// The limit policies by name. `fixed` lives here, as it has nothing to compute.
#include <streamgate/policies/internal/limit_factories.h>
#include <streamgate/policies/limit_policy.h>

#include <stdexcept>
#include <string>

namespace streamgate::policies {
namespace {

/// Stays where it was put.
class FixedLimit final : public LimitPolicy {
 public:
  explicit FixedLimit(std::size_t limit) noexcept : limit_(limit) {}
  std::size_t initial_limit() const noexcept override { return limit_; }
  bool wants_observations() const noexcept override { return false; }
  std::optional<std::size_t> observe(const Observation&) noexcept override { return std::nullopt; }

 private:
  std::size_t limit_;
};

using Factory = std::unique_ptr<LimitPolicy> (*)(const LimitPolicyOptions&);

std::unique_ptr<LimitPolicy> make_fixed_limit(const LimitPolicyOptions& options) {
  return std::make_unique<FixedLimit>(options.initial);
}

/// In the order of kLimitPolicyNames.
constexpr std::array<Factory, kLimitPolicyNames.size()> kFactories = {
    make_fixed_limit, internal::make_aimd_limit, internal::make_vegas_limit,
    internal::make_gradient2_limit, internal::make_knee_limit};

constexpr std::array<std::string_view, kLimitReasons> kReasonNames = {
    "helps",   "enough",    "no_gain",     "loss",        "unclear",
    "trial",   "remeasure", "application", "errors",      "not_errors",
    "latency", "changed",   "moved",       "short_queue", "split"};

}  // namespace

std::string_view to_string(LimitReason reason) noexcept {
  return kReasonNames[static_cast<std::size_t>(reason)];
}

std::unique_ptr<LimitPolicy> make_limit_policy(const LimitPolicyOptions& options) {
  if (options.initial == 0 || options.initial > options.ceiling) {
    throw std::invalid_argument("limit policy: initial limit " + std::to_string(options.initial) +
                                " is outside 1.." + std::to_string(options.ceiling));
  }
  for (std::size_t i = 0; i < kLimitPolicyNames.size(); ++i) {
    if (options.name == kLimitPolicyNames[i]) return kFactories[i](options);
  }

  std::string known;
  for (const std::string_view name : kLimitPolicyNames) {
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw std::invalid_argument("limit policy '" + std::string(options.name) +
                              "' is not known; known policies: " + known);
}

}  // namespace streamgate::policies

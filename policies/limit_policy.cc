// SPDX-License-Identifier: Apache-2.0
//
// The limit policies by name. `fixed` lives here, as it has nothing to compute.
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

}  // namespace

std::unique_ptr<LimitPolicy> make_limit_policy(const LimitPolicyOptions& options) {
  if (options.initial == 0 || options.initial > options.ceiling) {
    throw std::invalid_argument("limit policy: initial limit " + std::to_string(options.initial) +
                                " is outside 1.." + std::to_string(options.ceiling));
  }
  if (options.name == "fixed") return std::make_unique<FixedLimit>(options.initial);

  std::string known;
  for (const std::string_view name : kLimitPolicyNames) {
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw std::invalid_argument("limit policy '" + std::string(options.name) +
                              "' is not known; known policies: " + known);
}

}  // namespace streamgate::policies

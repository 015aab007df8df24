// SPDX-License-Identifier: Apache-2.0
//
// How make_limit_policy reaches the policies that have a file of their own. Not for users.
#pragma once

#include <streamgate/policies/limit_policy.h>

#include <memory>

namespace streamgate::policies::internal {

// REQUIRES: 1 <= options.initial <= options.ceiling; make_limit_policy has checked.
[[nodiscard]] std::unique_ptr<LimitPolicy> make_aimd_limit(const LimitPolicyOptions& options);
[[nodiscard]] std::unique_ptr<LimitPolicy> make_vegas_limit(const LimitPolicyOptions& options);
[[nodiscard]] std::unique_ptr<LimitPolicy> make_gradient2_limit(const LimitPolicyOptions& options);
[[nodiscard]] std::unique_ptr<LimitPolicy> make_knee_limit(const LimitPolicyOptions& options);

}  // namespace streamgate::policies::internal

// SPDX-License-Identifier: Apache-2.0
//
// The maker of the overflow policy that has a file of its own; make_overflow_policy calls it.
#pragma once

#include <streamgate/policies/overflow_policy.h>

#include <memory>

namespace streamgate::policies::internal {

[[nodiscard]] std::unique_ptr<OverflowPolicy> make_cheapest_overflow(
    const OverflowPolicyOptions& options);

}  // namespace streamgate::policies::internal

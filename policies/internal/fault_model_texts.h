// SPDX-License-Identifier: Apache-2.0
//
// The texts of the shipped fault models. The .cc file is made by cmake/StreamgateFaultModels.cmake.
#pragma once

#include <streamgate/policies/shipped_fault_models.h>

#include <vector>

namespace streamgate::policies::internal {

/// By name in alphabetical order.
[[nodiscard]] std::vector<ShippedFaultModel> fault_model_texts();

}  // namespace streamgate::policies::internal

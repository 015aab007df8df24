// SPDX-License-Identifier: Apache-2.0
//
// A number for what a call is: operation and arguments. For finding again what has killed workers,
// not for trust.
#pragma once

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// The same operation with equal arguments gives the same number, in every process. Of a tensor it
/// looks at dtype, sizes, strides and the first and last 32 KiB: a call that differs between those
/// only counts as the same.
[[nodiscard]] std::uint64_t fingerprint_of(std::string_view operation,
                                           const std::vector<c10::IValue>& arguments);

/// Of an operation alone, with the shapes but not the content of its tensors: calls that should
/// take equally long. Never 0.
[[nodiscard]] std::uint64_t kind_of(std::string_view operation,
                                    const std::vector<c10::IValue>& arguments);

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The values of a call, looked into: its tensors apart from the rest, put back, or moved to another
// device. What the values mean is the operation's business.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace streamgate::executor {

struct CallParts {
  std::vector<at::Tensor> tensors{};  ///< In the order in which they come; defined ones only.
  /// Everything else: equal for two calls if and only if only their tensors differ.
  std::vector<std::int64_t> rest{};
  /// Whether that could be said: not of dictionaries and objects, whose order or insides are their
  /// own business.
  bool complete = true;
};

[[nodiscard]] CallParts take_apart(const std::vector<c10::IValue>& values);

/// The same values with other tensors in their places. REQUIRES: as many as take_apart gave.
[[nodiscard]] std::vector<c10::IValue> with_tensors(const std::vector<c10::IValue>& values,
                                                    const std::vector<at::Tensor>& tensors);

/// All tensors on the device; those that are there already are the same ones. Waits for copies to
/// the host.
[[nodiscard]] c10::IValue moved(const c10::IValue& value, at::Device device);

}  // namespace streamgate::executor

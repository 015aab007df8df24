// SPDX-License-Identifier: Apache-2.0
//
// The models of the CUDA measurements, on ATen alone: weights made at random, forward as a
// function.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::testing {

struct Model {
  std::string name;
  std::function<at::Tensor(const at::Tensor&)> forward;
  /// One input of each shape that clients send, on the host.
  std::vector<at::Tensor> inputs;
};

/// "mlp6x256" (batch 32), "mlp12x1024" (batch 8), "encoder" (6 layers of 512, 8 heads, sequences of
/// 16 to 256 in 8 lengths, batch 1), "cnn" (32x32 pictures, batch 8). Throws std::invalid_argument
/// for another name.
[[nodiscard]] Model make_model(std::string_view name, at::Device device);

}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// How digits become the tensors that the model takes. For the files that include libtorch anyway.
#pragma once

#include "idx_dataset.h"

#include <ATen/ATen.h>

namespace digits {

/// Float [digit, 1, row, column] in 0 to 1.
[[nodiscard]] inline at::Tensor images_of(const Dataset& dataset) {
  return at::tensor(at::ArrayRef<std::uint8_t>(dataset.pixels), at::kByte)
      .reshape({-1, 1, static_cast<std::int64_t>(kRows), static_cast<std::int64_t>(kColumns)})
      .to(at::kFloat)
      .div_(255.0);
}

/// Long [digit].
[[nodiscard]] inline at::Tensor labels_of(const Dataset& dataset) {
  return at::tensor(at::ArrayRef<std::uint8_t>(dataset.labels), at::kByte).to(at::kLong);
}

}  // namespace digits

// SPDX-License-Identifier: Apache-2.0
//
// Writes the JSON that the protocol answers with. It checks nothing but what JSON cannot say.
#pragma once

#include "tensor.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace inference_server {

/// A string as JSON, quotes and all. What is not UTF-8 becomes '?', so that no message can make a
/// reply that is not JSON.
[[nodiscard]] std::string json_string(std::string_view text);

/// {"error":"..."}.
[[nodiscard]] std::string error_json(std::string_view text);

/// The reply to an inference; nothing when an output has a value that JSON has no word for
/// (infinite, or not a number). Numbers are written with as many digits as bring them back exactly.
[[nodiscard]] std::optional<std::string> infer_response_json(std::string_view model,
                                                             std::string_view version,
                                                             std::string_view id,
                                                             std::span<const Tensor> outputs);

/// `[{"name":...,"datatype":...,"shape":...},...]`, as metadata lists what a model takes.
[[nodiscard]] std::string specs_json(std::span<const TensorSpec> specs);

}  // namespace inference_server

// SPDX-License-Identifier: Apache-2.0
//
// Reads the body of an inference request (KServe's V2 protocol, JSON) and holds it against what the
// model takes. It trusts nothing of it: what comes out is right in names, types, shapes and sizes,
// or is a sentence that says what is wrong. It knows no HTTP and no libtorch.
#pragma once

#include "tensor.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inference_server {

struct InferRequest {
  std::string id;                    ///< The client's, given back to it; may be empty.
  std::vector<Tensor> inputs;        ///< In the order of the model's.
  std::vector<std::string> outputs;  ///< Asked for; empty: all.
};

/// A request, or why there is none.
struct ParsedRequest {
  std::optional<InferRequest> request;
  std::string error;  ///< For the client; empty when there is a request.
};

/// Never throws but for want of memory; takes no more than about 20 bytes for each of the body's.
/// The elements of a tensor may be nested as its shape is, or be one list. An empty list of inputs
/// is a request for a model without inputs only.
[[nodiscard]] ParsedRequest parse_infer_request(std::string_view body,
                                                std::span<const TensorSpec> inputs,
                                                std::span<const TensorSpec> outputs);

}  // namespace inference_server

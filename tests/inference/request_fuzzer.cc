// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer's way into the reader of requests: any bytes are a request or an error, and what comes
// out as a request is as its model takes it.
#include "infer_request.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

using inference_server::DataType;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const std::vector<inference_server::TensorSpec> inputs = {
      {.name = "x", .type = DataType::kFp32, .shape = {-1, 2}},
      {.name = "n", .type = DataType::kInt8, .shape = {-1}},
      {.name = "b", .type = DataType::kBool, .shape = {}}};
  static const std::vector<inference_server::TensorSpec> outputs = {{.name = "y"}};
  const std::string_view body(reinterpret_cast<const char*>(bytes), size);
  const auto parsed = inference_server::parse_infer_request(body, inputs, outputs);
  if (parsed.request.has_value() != parsed.error.empty()) std::abort();
  if (!parsed.request) return 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto& tensor = parsed.request->inputs[i];
    const auto elements = inference_server::elements_of(tensor.shape, size);
    if (!elements || tensor.bytes.size() != *elements * size_of(inputs[i].type)) std::abort();
  }
  return 0;
}

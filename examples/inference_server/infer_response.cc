// SPDX-License-Identifier: Apache-2.0
#include "infer_response.h"

#include <nlohmann/json.hpp>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace inference_server {
namespace {

template <typename T>
void append_number(std::string& text, T number) {
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), number);
  text.append(digits, error == std::errc() ? end : digits);
}

template <typename T>
bool append_elements(std::string& text, const Tensor& tensor) {
  const std::size_t elements = tensor.bytes.size() / sizeof(T);
  for (std::size_t i = 0; i < elements; ++i) {
    T element;
    std::memcpy(&element, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    if (i > 0) text += ',';
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(element)) return false;
    }
    append_number(text, element);
  }
  return true;
}

bool append_data(std::string& text, const Tensor& tensor) {
  switch (tensor.type) {
    case DataType::kBool:
      for (std::size_t i = 0; i < tensor.bytes.size(); ++i) {
        text += i > 0 ? "," : "";
        text += tensor.bytes[i] == std::byte{0} ? "false" : "true";
      }
      return true;
    case DataType::kUint8:
      return append_elements<std::uint8_t>(text, tensor);
    case DataType::kInt8:
      return append_elements<std::int8_t>(text, tensor);
    case DataType::kInt16:
      return append_elements<std::int16_t>(text, tensor);
    case DataType::kInt32:
      return append_elements<std::int32_t>(text, tensor);
    case DataType::kInt64:
      return append_elements<std::int64_t>(text, tensor);
    case DataType::kFp32:
      return append_elements<float>(text, tensor);
    case DataType::kFp64:
      break;
  }
  return append_elements<double>(text, tensor);
}

std::string head_of(std::string_view name, DataType type, const Shape& shape) {
  return "{\"name\":" + json_string(name) + ",\"datatype\":\"" + std::string(to_string(type)) +
         "\",\"shape\":" + to_string(shape);
}

}  // namespace

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string error_json(std::string_view text) { return "{\"error\":" + json_string(text) + "}"; }

std::optional<std::string> infer_response_json(std::string_view model, std::string_view version,
                                               std::string_view id,
                                               std::span<const Tensor> outputs) {
  std::string text =
      "{\"model_name\":" + json_string(model) + ",\"model_version\":" + json_string(version);
  if (!id.empty()) text += ",\"id\":" + json_string(id);
  text += ",\"outputs\":[";
  for (const Tensor& tensor : outputs) {
    if (text.back() != '[') text += ',';
    text += head_of(tensor.name, tensor.type, tensor.shape) + ",\"data\":[";
    if (!append_data(text, tensor)) return std::nullopt;
    text += "]}";
  }
  return text + "]}";
}

std::string specs_json(std::span<const TensorSpec> specs) {
  std::string text = "[";
  for (const TensorSpec& spec : specs) {
    text += (text.size() > 1 ? "," : "") + head_of(spec.name, spec.type, spec.shape) + "}";
  }
  return text + "]";
}

}  // namespace inference_server

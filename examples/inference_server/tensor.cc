// SPDX-License-Identifier: Apache-2.0
#include "tensor.h"

namespace inference_server {

std::string_view to_string(DataType type) noexcept {
  switch (type) {
    case DataType::kBool:
      return "BOOL";
    case DataType::kUint8:
      return "UINT8";
    case DataType::kInt8:
      return "INT8";
    case DataType::kInt16:
      return "INT16";
    case DataType::kInt32:
      return "INT32";
    case DataType::kInt64:
      return "INT64";
    case DataType::kFp32:
      return "FP32";
    case DataType::kFp64:
      break;
  }
  return "FP64";
}

std::optional<DataType> data_type_of(std::string_view word) noexcept {
  for (const DataType type : kAllDataTypes) {
    if (to_string(type) == word) return type;
  }
  return std::nullopt;
}

std::string data_type_words() {
  std::string words;
  for (const DataType type : kAllDataTypes) {
    words += (words.empty() ? "" : ", ") + std::string(to_string(type));
  }
  return words;
}

std::size_t size_of(DataType type) noexcept {
  switch (type) {
    case DataType::kBool:
    case DataType::kUint8:
    case DataType::kInt8:
      return 1;
    case DataType::kInt16:
      return 2;
    case DataType::kInt32:
    case DataType::kFp32:
      return 4;
    case DataType::kInt64:
    case DataType::kFp64:
      break;
  }
  return 8;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) {
    if (text.size() > 1) text += ',';
    text += std::to_string(dimension);
  }
  text += ']';
  return text;
}

std::optional<std::size_t> elements_of(const Shape& shape, std::size_t most) noexcept {
  std::size_t elements = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    const auto size = static_cast<std::size_t>(dimension);
    // Divided, as the product may not fit.
    if (size != 0 && elements > most / size) return std::nullopt;
    elements *= size;
  }
  return elements;
}

}  // namespace inference_server

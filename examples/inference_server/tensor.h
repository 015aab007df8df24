// SPDX-License-Identifier: Apache-2.0
//
// Tensors as the protocol and the server's config know them: a name, a datatype, a shape and bytes.
// Free of libtorch and of JSON.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inference_server {

/// Those of the protocol's datatypes that libtorch 1.13 has, too.
enum class DataType : std::uint8_t { kBool, kUint8, kInt8, kInt16, kInt32, kInt64, kFp32, kFp64 };

inline constexpr std::array<DataType, 8> kAllDataTypes = {
    DataType::kBool,  DataType::kUint8, DataType::kInt8, DataType::kInt16,
    DataType::kInt32, DataType::kInt64, DataType::kFp32, DataType::kFp64};

/// "FP32": the protocol's word.
[[nodiscard]] std::string_view to_string(DataType type) noexcept;
[[nodiscard]] std::optional<DataType> data_type_of(std::string_view word) noexcept;
/// "BOOL, UINT8, ...": for messages.
[[nodiscard]] std::string data_type_words();
[[nodiscard]] std::size_t size_of(DataType type) noexcept;

using Shape = std::vector<std::int64_t>;

/// More dimensions than this are refused, in requests and in configs.
inline constexpr std::size_t kMostDimensions = 8;

/// "[2,1,28,28]".
[[nodiscard]] std::string to_string(const Shape& shape);

/// The elements of a shape; nothing when a dimension is negative or they are more than `most`.
[[nodiscard]] std::optional<std::size_t> elements_of(const Shape& shape, std::size_t most) noexcept;

/// What a model takes or returns: a dimension of -1 may have any size.
struct TensorSpec {
  std::string name{};
  DataType type = DataType::kFp32;
  Shape shape{};
};

/// A tensor whose bytes are those of its elements, row by row, in this machine's order.
struct Tensor {
  std::string name;
  DataType type = DataType::kFp32;
  Shape shape;
  std::vector<std::byte> bytes;
};

}  // namespace inference_server

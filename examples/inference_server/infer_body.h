// SPDX-License-Identifier: Apache-2.0
//
// The body of an inference request as it stands: its keys and numbers, taken out of the JSON
// without a tree of it. What a model makes of them is infer_request.h's business.
#pragma once

#include "tensor.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inference_server {

/// The longest id, name and key that a request may have.
inline constexpr std::size_t kLongestName = 256;

/// For a message: what came from outside may be long, and hold anything.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// The numbers of one "data", before it is known what they are to be.
struct Numbers {
  enum class Kind : std::uint8_t { kNone, kBool, kInteger, kReal };
  Kind kind = Kind::kNone;
  std::vector<std::int64_t> integers;  ///< Of kBool and kInteger.
  std::vector<double> reals;           ///< Of kReal.
  Shape nesting;                       ///< The sizes of the nested lists, outermost first.

  [[nodiscard]] std::size_t size() const noexcept {
    return kind == Kind::kReal ? reals.size() : integers.size();
  }
};

/// One of "inputs" as it stands in the body.
struct RawInput {
  std::optional<std::string> name;
  std::optional<std::string> type;
  std::optional<Shape> shape;
  std::optional<Numbers> data;
};

/// A body; `error` says what is wrong with it, for the client, and is empty when nothing is.
struct InferBody {
  std::string error{};
  std::string id{};
  std::vector<RawInput> inputs{};
  bool has_inputs = false;
  std::vector<std::string> outputs{};  ///< By name; none: all.
};

/// Never throws but for want of memory.
[[nodiscard]] InferBody read_infer_body(std::string_view json);

}  // namespace inference_server

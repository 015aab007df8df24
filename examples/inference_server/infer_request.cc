// SPDX-License-Identifier: Apache-2.0
#include "infer_request.h"

#include "infer_body.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace inference_server {
namespace {

template <typename T>
std::optional<std::vector<std::byte>> bytes_of(const Numbers& numbers) {
  std::vector<std::byte> bytes(numbers.size() * sizeof(T));
  const auto put = [&](std::size_t i, T element) {
    std::memcpy(bytes.data() + i * sizeof(T), &element, sizeof(T));
  };
  if constexpr (std::is_floating_point_v<T>) {
    for (std::size_t i = 0; i < numbers.integers.size(); ++i) {
      put(i, static_cast<T>(numbers.integers[i]));
    }
    for (std::size_t i = 0; i < numbers.reals.size(); ++i) {
      // What is finite in JSON must not become infinite on the way.
      if (std::abs(numbers.reals[i]) > static_cast<double>(std::numeric_limits<T>::max())) {
        return std::nullopt;
      }
      put(i, static_cast<T>(numbers.reals[i]));
    }
  } else {
    for (std::size_t i = 0; i < numbers.integers.size(); ++i) {
      const std::int64_t integer = numbers.integers[i];
      if (integer < std::int64_t{std::numeric_limits<T>::min()} ||
          integer > std::int64_t{std::numeric_limits<T>::max()}) {
        return std::nullopt;
      }
      put(i, static_cast<T>(integer));
    }
  }
  return bytes;
}

std::optional<std::vector<std::byte>> bytes_of(DataType type, const Numbers& numbers) {
  switch (type) {
    case DataType::kBool:
    case DataType::kUint8:
      return bytes_of<std::uint8_t>(numbers);
    case DataType::kInt8:
      return bytes_of<std::int8_t>(numbers);
    case DataType::kInt16:
      return bytes_of<std::int16_t>(numbers);
    case DataType::kInt32:
      return bytes_of<std::int32_t>(numbers);
    case DataType::kInt64:
      return bytes_of<std::int64_t>(numbers);
    case DataType::kFp32:
      return bytes_of<float>(numbers);
    case DataType::kFp64:
      break;
  }
  return bytes_of<double>(numbers);
}

bool is_whole(DataType type) { return type != DataType::kFp32 && type != DataType::kFp64; }

bool fits(const Shape& wanted, const Shape& given) {
  return std::equal(wanted.begin(), wanted.end(), given.begin(), given.end(),
                    [](std::int64_t want, std::int64_t have) { return want < 0 || want == have; });
}

/// What is wrong with an input, or nothing, and then `tensor` has it.
std::string check(const TensorSpec& spec, const RawInput& input, Tensor& tensor) {
  for (const auto& [there, key] :
       {std::pair{input.type.has_value(), "datatype"}, std::pair{input.shape.has_value(), "shape"},
        std::pair{input.data.has_value(), "data"}}) {
    if (!there) return in_quotes(key) + " is missing";
  }
  const std::optional<DataType> type = data_type_of(*input.type);
  if (!type) {
    return "datatype " + in_quotes(*input.type) + " is not known here; known are " +
           data_type_words();
  }
  if (*type != spec.type) {
    return "datatype " + std::string(to_string(*type)) + " is given; the model takes " +
           std::string(to_string(spec.type));
  }
  const Shape& shape = *input.shape;
  if (!fits(spec.shape, shape)) {
    return "shape " + to_string(shape) + " is given; the model takes " + to_string(spec.shape);
  }
  const Numbers& numbers = *input.data;
  // A tensor without elements tells no kernel of libtorch anything, and many of them stumble on it.
  if (numbers.size() == 0) return "\"data\" is empty";
  const std::optional<std::size_t> elements = elements_of(shape, numbers.size());
  if (!elements || *elements != numbers.size()) {
    return "\"data\" has " + std::to_string(numbers.size()) +
           " elements, which is not what shape " + to_string(shape) + " has";
  }
  if (numbers.nesting.size() > 1 && numbers.nesting != shape) {
    return "\"data\" is nested as " + to_string(numbers.nesting) + ", not as its shape " +
           to_string(shape);
  }
  const bool is_bool = numbers.kind == Numbers::Kind::kBool;
  if (is_bool != (*type == DataType::kBool)) {
    return is_bool ? "\"data\" has booleans; " + std::string(to_string(*type)) + " takes numbers"
                   : "\"data\" has numbers; BOOL takes true and false";
  }
  if (is_whole(*type) && numbers.kind == Numbers::Kind::kReal) {
    return "\"data\" has a fraction; " + std::string(to_string(*type)) + " takes integers";
  }
  std::optional<std::vector<std::byte>> bytes = bytes_of(*type, numbers);
  if (!bytes) return "\"data\" has a number that " + std::string(to_string(*type)) + " cannot hold";
  tensor = {.name = spec.name, .type = *type, .shape = shape, .bytes = *std::move(bytes)};
  return "";
}

std::string names_of(std::span<const TensorSpec> specs) {
  std::string names;
  for (const TensorSpec& spec : specs) names += (names.empty() ? "" : ", ") + spec.name;
  return names;
}

ParsedRequest refuse(std::string error) { return {.request = {}, .error = std::move(error)}; }

}  // namespace

ParsedRequest parse_infer_request(std::string_view body, std::span<const TensorSpec> inputs,
                                  std::span<const TensorSpec> outputs) {
  InferBody read = read_infer_body(body);
  if (!read.error.empty()) return refuse(std::move(read.error));
  if (!read.has_inputs) return refuse("\"inputs\" is missing");
  InferRequest request{.id = std::move(read.id), .inputs = {}, .outputs = std::move(read.outputs)};
  request.inputs.resize(inputs.size());
  std::vector<bool> given(inputs.size(), false);
  for (const RawInput& input : read.inputs) {
    if (!input.name) return refuse("an input has no \"name\"");
    const auto spec = std::find_if(inputs.begin(), inputs.end(),
                                   [&](const auto& each) { return each.name == *input.name; });
    const std::string which = "input " + in_quotes(*input.name);
    if (spec == inputs.end()) {
      return refuse(which + " is none of this model's; those are " + names_of(inputs));
    }
    const auto i = static_cast<std::size_t>(spec - inputs.begin());
    if (given[i]) return refuse(which + " is given twice");
    given[i] = true;
    const std::string wrong = check(*spec, input, request.inputs[i]);
    if (!wrong.empty()) return refuse(which + ": " + wrong);
  }
  const auto missing = std::find(given.begin(), given.end(), false);
  if (missing != given.end()) {
    const auto i = static_cast<std::size_t>(missing - given.begin());
    return refuse("input " + in_quotes(inputs[i].name) + " is missing");
  }
  for (const std::string& name : request.outputs) {
    const bool known = std::any_of(outputs.begin(), outputs.end(),
                                   [&](const auto& each) { return each.name == name; });
    if (!known) {
      return refuse("output " + in_quotes(name) + " is none of this model's; those are " +
                    names_of(outputs));
    }
  }
  return {.request = std::move(request), .error = {}};
}

}  // namespace inference_server

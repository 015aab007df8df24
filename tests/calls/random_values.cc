// SPDX-License-Identifier: Apache-2.0
#include "random_values.h"

#include <ATen/ATen.h>
#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/jit_type.h>

#include <array>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

namespace streamgate::testing {
namespace {

using c10::IValue;

constexpr std::array kDtypes = {
    at::kByte,         at::kChar,          at::kShort,  at::kInt,      at::kLong,
    at::kHalf,         at::kFloat,         at::kDouble, at::kBFloat16, at::kComplexHalf,
    at::kComplexFloat, at::kComplexDouble, at::kBool};

/// The elements as they lie in memory, in order of their indices, without the bits that reinterpret
/// them.
std::string bytes_of(const at::Tensor& tensor) {
  std::string bytes;
  const std::size_t size = tensor.element_size();
  const auto* const begin = static_cast<const char*>(tensor.data_ptr());
  std::vector<std::int64_t> index(static_cast<std::size_t>(tensor.dim()), 0);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    std::int64_t place = 0;
    for (std::size_t d = 0; d < index.size(); ++d) {
      place += index[d] * tensor.stride(static_cast<std::int64_t>(d));
    }
    bytes.append(begin + place * static_cast<std::int64_t>(size), size);
    for (std::size_t d = index.size(); d-- > 0;) {
      if (++index[d] < tensor.size(static_cast<std::int64_t>(d))) break;
      index[d] = 0;
    }
  }
  return bytes;
}

bool is_spread(const at::Tensor& tensor) {
  std::int64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return static_cast<std::size_t>(last + 1) * tensor.element_size() > 2 * tensor.nbytes();
}

std::string tensor_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.defined() != b.defined()) return "one is undefined";
  if (!a.defined()) return "";
  if (a.scalar_type() != b.scalar_type()) return "dtypes";
  if (a.sizes() != b.sizes()) return "sizes";
  if (a.device() != b.device()) return "devices";
  if (a.is_conj() != b.is_conj()) return "conjugated";
  if (a.is_neg() != b.is_neg()) return "negated";
  if (a.numel() != 0 && is_spread(a)) {
    return bytes_of(a) == bytes_of(b) ? "" : "bytes of a spread one";
  }
  if (a.strides() != b.strides()) return "strides";
  if (a.is_contiguous() != b.is_contiguous()) return "contiguous";
  return bytes_of(a) == bytes_of(b) ? "" : "bytes";
}

/// Undefined tensors have no type, and so what contains them has none.
std::string type_text(const IValue& value) {
  try {
    return value.type()->annotation_str();
  } catch (const c10::Error&) {
    return "";
  }
}

template <typename Elements>
std::string elements_difference(const Elements& a, const Elements& b) {
  if (a.size() != b.size()) return "sizes";
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::string found = difference(a[i], b[i]);
    if (!found.empty()) return "element " + std::to_string(i) + ": " + found;
  }
  return "";
}

}  // namespace

double RandomValues::number() {
  constexpr std::array kSpecial = {0.0, -0.0, std::numeric_limits<double>::infinity(),
                                   std::numeric_limits<double>::quiet_NaN(), 1e-310};
  if (below(3) == 0) return kSpecial[below(kSpecial.size())];
  const std::uint64_t bits = random_();
  double number = 0;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

std::string RandomValues::text() {
  std::string text(below(20), '\0');
  for (char& c : text) c = static_cast<char>(random_());
  return text;
}

at::Tensor RandomValues::tensor() {
  const at::ScalarType dtype = kDtypes[below(kDtypes.size())];
  const std::size_t rank = below(5);
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; i < rank; ++i) {
    sizes.push_back(below(12) == 0 ? 0 : static_cast<std::int64_t>(below(6) + 1));
  }
  if (rank > 0 && below(10) == 0) sizes[0] = 3'000;
  at::Tensor tensor = at::empty(sizes, dtype);
  auto* const bytes = static_cast<unsigned char*>(tensor.data_ptr());
  for (std::size_t i = 0; i < tensor.nbytes(); ++i) {
    bytes[i] = static_cast<unsigned char>(dtype == at::kBool ? random_() & 1U : random_());
  }
  for (std::size_t i = below(3); i-- > 0 && tensor.dim() > 0;) {
    const auto d = static_cast<std::int64_t>(below(static_cast<std::size_t>(tensor.dim())));
    switch (below(5)) {
      case 0:
        tensor = tensor.transpose(0, d);
        break;
      case 1:
        if (tensor.size(d) > 1) tensor = tensor.narrow(d, 1, tensor.size(d) - 1);
        break;
      case 2:
        tensor = tensor.slice(d, 0, tensor.size(d), static_cast<std::int64_t>(below(3) + 1));
        break;
      case 3:
        tensor = tensor.unsqueeze(d).expand([&] {
          std::vector<std::int64_t> wide = tensor.sizes().vec();
          wide.insert(wide.begin() + d, 3);
          return wide;
        }());
        break;
      default:
        if (tensor.size(d) > 0) tensor = tensor.select(d, tensor.size(d) - 1);
    }
    if (tensor.numel() == 0) break;
  }
  if (tensor.is_complex() && below(3) == 0) tensor = at::_conj(tensor);
  if (dtype != at::kBool && below(6) == 0) tensor = at::_neg_view(tensor);
  return tensor;
}

IValue RandomValues::list(std::size_t depth) {
  const std::size_t size = below(5);
  switch (below(6)) {
    case 0: {
      std::vector<at::Tensor> tensors;
      for (std::size_t i = 0; i < size; ++i) tensors.push_back(tensor());
      return tensors;
    }
    case 1: {
      std::vector<std::int64_t> numbers;
      for (std::size_t i = 0; i < size; ++i)
        numbers.push_back(static_cast<std::int64_t>(random_()));
      return numbers;
    }
    case 2: {
      c10::List<c10::optional<at::Tensor>> tensors;
      for (std::size_t i = 0; i < size; ++i) {
        tensors.push_back(below(2) == 0 ? c10::optional<at::Tensor>() : tensor());
      }
      return tensors;
    }
    case 3: {
      c10::List<std::vector<double>> lists;
      for (std::size_t i = 0; i < size; ++i) lists.push_back({number(), number()});
      return lists;
    }
    case 4: {
      c10::List<std::string> texts;
      for (std::size_t i = 0; i < size; ++i) texts.push_back(text());
      return texts;
    }
    default: {
      c10::impl::GenericList any(c10::AnyType::get());
      for (std::size_t i = 0; i < size; ++i) any.push_back(value(depth + 1));
      return any;
    }
  }
}

IValue RandomValues::tuple(std::size_t depth) {
  std::vector<IValue> elements;
  const bool named = below(3) == 0;
  // A field of a named one is of no type that contains Any.
  constexpr std::size_t kDeepest = 4;
  for (std::size_t i = below(4); i-- > 0;) elements.push_back(value(named ? kDeepest : depth + 1));
  if (!named) return c10::ivalue::Tuple::create(std::move(elements));
  std::vector<std::string> fields;
  std::vector<c10::TypePtr> types;
  for (const IValue& element : elements) {
    fields.push_back("field" + std::to_string(fields.size()));
    types.push_back(element.isTensor() ? c10::TensorType::get() : element.type());
  }
  return c10::ivalue::Tuple::createNamed(
      std::move(elements),
      c10::TupleType::createNamed(c10::QualifiedName("tests.Pair"), fields, types));
}

IValue RandomValues::value(std::size_t depth) {
  switch (below(depth < 4 ? 13 : 9)) {
    case 0:
      return {};
    case 1:
      return below(2) == 0;
    case 2:
      return static_cast<std::int64_t>(random_());
    case 3:
      return number();
    case 4: {
      const double real = number();
      return c10::complex<double>(real, number());
    }
    case 5:
      return text();
    case 6:
      return below(2) == 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, 3);
    case 7:
    case 8:
      return below(12) == 0 ? at::Tensor() : tensor();
    case 9:
      return list(depth);
    case 10: {
      c10::Dict<std::string, at::Tensor> dict;
      for (std::size_t i = below(4); i-- > 0;) dict.insert_or_assign(text(), tensor());
      return dict;
    }
    case 11: {
      c10::impl::GenericDict dict(c10::IntType::get(), c10::AnyType::get());
      for (std::size_t i = below(4); i-- > 0;) {
        dict.insert_or_assign(static_cast<std::int64_t>(random_()), value(depth + 1));
      }
      return dict;
    }
    default:
      return tuple(depth);
  }
}

std::vector<IValue> RandomValues::values() {
  std::vector<IValue> values;
  for (std::size_t i = below(5); i-- > 0;) values.push_back(value(0));
  return values;
}

std::string difference(const IValue& a, const IValue& b) {
  if (a.tagKind() != b.tagKind()) return a.tagKind() + " and " + b.tagKind();
  if (a.isTensor()) return tensor_difference(a.toTensor(), b.toTensor());
  if (a.isDouble()) {
    const double x = a.toDouble();
    const double y = b.toDouble();
    return std::memcmp(&x, &y, sizeof(x)) == 0 ? "" : "floats";
  }
  if (a.isComplexDouble()) {
    const auto x = a.toComplexDouble();
    const auto y = b.toComplexDouble();
    return std::memcmp(&x, &y, sizeof(x)) == 0 ? "" : "complex numbers";
  }
  if (a.isList()) {
    if (*a.toList().elementType() != *b.toList().elementType()) return "types of elements";
    return elements_difference(a.toListRef(), b.toListRef());
  }
  if (a.isTuple()) {
    // Of a named one its name and fields are the type; of another it follows from the elements.
    if (type_text(a) != type_text(b)) return "types of tuples";
    return elements_difference(a.toTupleRef().elements().vec(), b.toTupleRef().elements().vec());
  }
  if (a.isGenericDict()) {
    const auto x = a.toGenericDict();
    const auto y = b.toGenericDict();
    if (*x.keyType() != *y.keyType() || *x.valueType() != *y.valueType()) return "types of dicts";
    std::vector<IValue> in_x;
    std::vector<IValue> in_y;
    for (const auto& entry : x) in_x.insert(in_x.end(), {entry.key(), entry.value()});
    for (const auto& entry : y) in_y.insert(in_y.end(), {entry.key(), entry.value()});
    return elements_difference(in_x, in_y);
  }
  if (a.isNone()) return "";
  return a == b ? "" : "values of kind " + a.tagKind();
}

}  // namespace streamgate::testing

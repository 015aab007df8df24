// SPDX-License-Identifier: Apache-2.0
//
// The reading half of the codec. The structure is copied once and then read from the copy, so that
// a process which writes on while we read changes nothing that was checked.
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/codec_format.h>
#include <streamgate/executor/workers/tensor_memory.h>

#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue_inl.h>
#include <ATen/core/jit_type.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::IValue;
using c10::TypePtr;
using codec::FrameHeader;
using codec::Placement;
using codec::Tag;
using codec::TypeTag;

bool is_dtype(std::int8_t number) {
  if (number < 0 || number >= static_cast<std::int8_t>(c10::ScalarType::NumOptions)) return false;
  const auto dtype = static_cast<c10::ScalarType>(number);
  return dtype != c10::ScalarType::Undefined && !c10::isQIntType(dtype);
}

/// Whether a value may stand where that type is said: who takes a list of int reads its elements as
/// int, unasked.
bool fits(const IValue& value, const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::AnyType:
      return true;
    case c10::TypeKind::TensorType:
      return value.isTensor();
    case c10::TypeKind::BoolType:
      return value.isBool();
    case c10::TypeKind::IntType:
      return value.isInt();
    case c10::TypeKind::FloatType:
      return value.isDouble();
    case c10::TypeKind::StringType:
      return value.isString();
    default:
      return value.type()->isSubtypeOf(type);
  }
}

/// Reads one frame. Every function throws CodecError for what encode does not write.
class ValueReader {
 public:
  ValueReader(Block frame, Channel& channel) : channel_(channel) {
    FrameHeader header;
    if (frame.bytes() < sizeof(header)) {
      throw CodecError("a frame of " + std::to_string(frame.bytes()) + " bytes");
    }
    std::memcpy(&header, frame.data(), sizeof(header));
    if (header.magic != codec::kFrameMagic ||
        header.structure_bytes > frame.bytes() - sizeof(header)) {
      throw CodecError("what lies in the block is no frame");
    }
    values_ = header.values;
    const std::byte* const begin = frame.data() + sizeof(header);
    structure_.assign(begin, begin + header.structure_bytes);
    frame_ = std::make_shared<const Block>(std::move(frame));
  }

  std::vector<IValue> read() {
    std::vector<IValue> values;
    values.reserve(checked_count(values_));
    for (std::uint64_t i = 0; i < values_; ++i) values.push_back(value(0));
    if (at_ != structure_.size()) wrong("bytes behind the last value");
    return values;
  }

 private:
  [[noreturn]] void wrong(const std::string& what) const {
    throw CodecError("byte " + std::to_string(at_) + " of a frame: " + what);
  }

  template <typename T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(value)), sizeof(value));
    return value;
  }
  const std::byte* take(std::uint64_t bytes) {
    if (bytes > structure_.size() - at_) wrong("it ends too early");
    const std::byte* const begin = structure_.data() + at_;
    at_ += bytes;
    return begin;
  }
  std::string text() {
    const auto bytes = get<std::uint64_t>();
    return {reinterpret_cast<const char*>(take(bytes)), bytes};
  }
  /// Whatever is counted takes at least a byte.
  std::size_t checked_count(std::uint64_t count) const {
    if (count > structure_.size() - at_) wrong("a count of " + std::to_string(count));
    return count;
  }
  std::size_t count() { return checked_count(get<std::uint64_t>()); }

  TypePtr type(std::size_t depth);
  TypePtr tuple_type(TypeTag tag, std::size_t depth);
  IValue value(std::size_t depth);
  IValue list(std::size_t depth);
  IValue dict(std::size_t depth);
  std::vector<IValue> elements(std::size_t count, std::size_t depth);
  c10::Device device();
  at::Tensor tensor();
  at::Tensor elements_of(const TensorShape& shape, Placement placement);

  Channel& channel_;
  std::shared_ptr<const Block> frame_;  // Shared with the tensors in it.
  std::uint64_t values_ = 0;
  std::vector<std::byte> structure_;
  std::size_t at_ = 0;
};

TypePtr ValueReader::type(std::size_t depth) {
  if (depth == codec::kMaxDepth) wrong("a type more than 64 deep");
  const auto tag = get<TypeTag>();
  switch (tag) {
    case TypeTag::kAny:
      return c10::AnyType::get();
    case TypeTag::kTensor:
      return c10::TensorType::get();
    case TypeTag::kNone:
      return c10::NoneType::get();
    case TypeTag::kBool:
      return c10::BoolType::get();
    case TypeTag::kInt:
      return c10::IntType::get();
    case TypeTag::kFloat:
      return c10::FloatType::get();
    case TypeTag::kComplex:
      return c10::ComplexType::get();
    case TypeTag::kNumber:
      return c10::NumberType::get();
    case TypeTag::kString:
      return c10::StringType::get();
    case TypeTag::kDevice:
      return c10::DeviceObjType::get();
    case TypeTag::kOptional:
      return c10::OptionalType::create(type(depth + 1));
    case TypeTag::kList:
      return c10::ListType::create(type(depth + 1));
    case TypeTag::kDict: {
      TypePtr key = type(depth + 1);
      return c10::DictType::create(std::move(key), type(depth + 1));
    }
    case TypeTag::kTuple:
    case TypeTag::kNamedTuple:
      return tuple_type(tag, depth);
  }
  wrong("a type of kind " + std::to_string(static_cast<unsigned>(tag)));
}

TypePtr ValueReader::tuple_type(TypeTag tag, std::size_t depth) {
  const bool named = tag == TypeTag::kNamedTuple;
  const std::string name = named ? text() : std::string();
  const std::size_t elements = count();
  std::vector<std::string> fields;
  std::vector<TypePtr> types;
  for (std::size_t i = 0; i < elements; ++i) {
    if (named) fields.push_back(text());
    types.push_back(type(depth + 1));
  }
  if (!named) return c10::TupleType::create(std::move(types));
  try {
    return c10::TupleType::createNamed(c10::QualifiedName(name), fields, types);
  } catch (const std::exception&) {
    wrong("a tuple's name that is none, or two fields of one name");
  }
}

IValue ValueReader::value(std::size_t depth) {
  if (depth == codec::kMaxDepth) wrong("a value more than 64 deep");
  const auto tag = get<Tag>();
  switch (tag) {
    case Tag::kNone:
      return {};
    case Tag::kFalse:
      return false;
    case Tag::kTrue:
      return true;
    case Tag::kInt:
      return get<std::int64_t>();
    case Tag::kFloat:
      return get<double>();
    case Tag::kComplex: {
      const auto real = get<double>();
      return c10::complex<double>(real, get<double>());
    }
    case Tag::kString:
      return text();
    case Tag::kDevice:
      return device();
    case Tag::kUndefinedTensor:
      return at::Tensor();
    case Tag::kTensor:
      return tensor();
    case Tag::kList:
      return list(depth);
    case Tag::kDict:
      return dict(depth);
    case Tag::kTuple:
      return c10::ivalue::Tuple::create(elements(count(), depth));
    case Tag::kNamedTuple: {
      const TypePtr named = type(depth);
      const auto tuple = named->cast<c10::TupleType>();
      if (!tuple || tuple->schema() == nullptr) wrong("a type that is no named tuple's");
      return c10::ivalue::Tuple::createNamed(elements(tuple->elements().size(), depth), tuple);
    }
  }
  wrong("a value of kind " + std::to_string(static_cast<unsigned>(tag)));
}

std::vector<IValue> ValueReader::elements(std::size_t count, std::size_t depth) {
  std::vector<IValue> all;
  all.reserve(checked_count(count));
  for (std::size_t i = 0; i < count; ++i) all.push_back(value(depth + 1));
  return all;
}

IValue ValueReader::list(std::size_t depth) {
  const TypePtr element_type = type(depth);
  c10::impl::GenericList all(element_type);
  const std::size_t elements = count();
  all.reserve(elements);
  for (std::size_t i = 0; i < elements; ++i) {
    IValue element = value(depth + 1);
    if (!fits(element, *element_type)) wrong("an element that is no " + element_type->repr_str());
    all.push_back(std::move(element));
  }
  return all;
}

IValue ValueReader::dict(std::size_t depth) {
  const TypePtr key_type = type(depth);
  const TypePtr value_type = type(depth);
  c10::impl::GenericDict all(key_type, value_type);
  const std::size_t entries = count();
  for (std::size_t i = 0; i < entries; ++i) {
    IValue key = value(depth + 1);
    if (!key.isString() && !key.isInt() && !key.isDouble() && !key.isBool()) wrong("a key");
    IValue entry = value(depth + 1);
    if (!fits(key, *key_type)) wrong("a key that is no " + key_type->repr_str());
    if (!fits(entry, *value_type)) wrong("an entry that is no " + value_type->repr_str());
    all.insert_or_assign(std::move(key), std::move(entry));
  }
  return all;
}

c10::Device ValueReader::device() {
  const auto type = get<std::int8_t>();
  const auto index = get<std::int8_t>();
  if (type < 0 || type >= static_cast<std::int8_t>(c10::COMPILE_TIME_MAX_DEVICE_TYPES) ||
      index < -1 || (type == 0 && index > 0)) {
    wrong("a device");
  }
  return {static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index)};
}

// ---- tensors ----

at::Tensor ValueReader::tensor() {
  const auto dtype = get<std::int8_t>();
  if (!is_dtype(dtype)) wrong("a dtype of number " + std::to_string(dtype));
  TensorShape shape{.dtype = static_cast<c10::ScalarType>(dtype)};
  const auto flags = get<std::uint8_t>();
  const bool conjugated = (flags & codec::kConjugated) != 0;
  const bool negated = (flags & codec::kNegated) != 0;
  if (flags > (codec::kConjugated | codec::kNegated) ||
      (conjugated && !c10::isComplexType(shape.dtype)) ||
      (negated && shape.dtype == c10::ScalarType::Bool)) {
    wrong("flags of a tensor");
  }
  const auto placement = get<Placement>();
  const auto rank = get<std::uint8_t>();
  if (rank > codec::kMaxRank) wrong("a tensor of " + std::to_string(rank) + " dimensions");
  for (std::vector<std::int64_t>* const numbers : {&shape.sizes, &shape.strides}) {
    for (std::size_t i = 0; i < rank; ++i) {
      numbers->push_back(get<std::int64_t>());
      if (numbers->back() < 0) wrong("a negative size or stride");
    }
  }
  at::Tensor tensor = elements_of(shape, placement);
  if (conjugated) tensor._set_conj(true);
  if (negated) tensor._set_neg(true);
  return tensor;
}

at::Tensor ValueReader::elements_of(const TensorShape& shape, Placement placement) {
  const std::optional<std::size_t> bytes = extent_of(shape);
  if (!bytes || (*bytes == 0) != (placement == Placement::kNowhere)) wrong("a tensor's extent");
  std::shared_ptr<const Block> block = frame_;
  std::uint64_t begin = 0;
  switch (placement) {
    case Placement::kNowhere:
      return tensor_in(c10::DataPtr(nullptr, c10::Device(c10::kCPU)), 0, shape);
    case Placement::kInFrame:
      begin = get<std::uint64_t>();
      break;
    case Placement::kInBlock: {
      BlockReference reference;
      reference.offset = get<std::uint64_t>();
      reference.bytes = get<std::uint64_t>();
      begin = get<std::uint64_t>();
      block = std::make_shared<const Block>(channel_.map(reference));
      break;
    }
    default:
      wrong("a tensor's placement");
  }
  const std::size_t alignment =
      std::min<std::size_t>(c10::elementSize(shape.dtype), alignof(double));
  if (begin > block->bytes() || *bytes > block->bytes() - begin || begin % alignment != 0) {
    wrong("a tensor of " + std::to_string(*bytes) + " bytes at " + std::to_string(begin) +
          " does not lie in a block of " + std::to_string(block->bytes()));
  }
  return tensor_in(tensor_memory(std::move(block), begin), *bytes, shape);
}

}  // namespace

std::vector<IValue> decode(Block frame, Channel& channel) {
  try {
    return ValueReader(std::move(frame), channel).read();
  } catch (const c10::Error& error) {
    // Of types that fit together nowhere, a dict with lists for keys say, libtorch knows best.
    throw CodecError(std::string("a frame that libtorch takes nothing from: ") +
                     error.what_without_backtrace());
  }
}

}  // namespace streamgate::executor

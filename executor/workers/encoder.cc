// SPDX-License-Identifier: Apache-2.0
//
// The writing half of the codec: one walk over the values notes their structure and puts large
// tensors into blocks; the frame comes last, when its size is known.
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/codec_format.h>
#include <streamgate/executor/workers/tensor_memory.h>

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue_inl.h>
#include <ATen/core/jit_type.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::IValue;
using c10::TypeKind;
using codec::FrameHeader;
using codec::Placement;
using codec::Tag;
using codec::TypeTag;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr std::size_t round_up(std::size_t bytes) {
  return (bytes + codec::kPlace - 1) / codec::kPlace * codec::kPlace;
}

[[noreturn]] void cannot(const std::string& what) {
  throw CodecError(what + " cannot be carried to another process");
}

/// Says the place of what went wrong inside, outermost first.
template <typename Write>
void within(std::string_view what, std::size_t index, Write write) {
  try {
    write();
  } catch (const CodecError& error) {
    throw CodecError(std::string(what) + " " + std::to_string(index) + ": " + error.what());
  }
}

std::string text_of(const at::Tensor& tensor) {
  std::ostringstream text;
  text << "a tensor of layout " << tensor.layout() << " and type " << tensor.scalar_type() << " on "
       << tensor.device();
  return text.str();
}

bool can_be_carried(const at::Tensor& tensor) {
  return tensor.layout() == c10::kStrided && tensor.device().is_cpu() && !tensor.is_quantized() &&
         !tensor.is_nested() && tensor.has_storage();
}

/// Where the elements of a tensor are to begin within kPlace bytes: where they are, unless that is
/// memory of somebody else's that is not even aligned.
std::size_t begin_for(const at::Tensor& tensor) {
  const std::size_t place = reinterpret_cast<std::uintptr_t>(tensor.data_ptr()) % codec::kPlace;
  return place % std::min<std::size_t>(tensor.element_size(), alignof(double)) == 0 ? place : 0;
}

/// The type of a tuple that has one of its own, not only that of its elements; else null.
c10::TypePtr named_type(const c10::ivalue::Tuple& tuple) {
  try {
    c10::TypePtr type = tuple.type();
    return type->expectRef<c10::TupleType>().schema() != nullptr ? type : nullptr;
  } catch (const c10::Error&) {
    // Made up from the elements, of which an undefined tensor has no type.
    return nullptr;
  }
}

/// The structure, as it grows.
class Structure {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(&value, sizeof(value));
  }
  void put_text(std::string_view text) {
    put(std::uint64_t{text.size()});
    put_bytes(text.data(), text.size());
  }
  void put_bytes(const void* data, std::size_t bytes) {
    const auto* const begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + bytes);
  }
  template <typename T>
  void put_at(std::size_t place, const T& value) {
    std::memcpy(bytes_.data() + place, &value, sizeof(value));
  }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] const std::byte* data() const noexcept { return bytes_.data(); }

 private:
  std::vector<std::byte> bytes_;
};

void put_type(Structure& out, const c10::TypePtr& type, std::size_t depth) {
  if (depth == codec::kMaxDepth) cannot("a type more than 64 deep");
  const auto put = [&](TypeTag tag) { out.put(tag); };
  switch (type->kind()) {
    case TypeKind::AnyType:
      return put(TypeTag::kAny);
    case TypeKind::TensorType:
      return put(TypeTag::kTensor);
    case TypeKind::NoneType:
      return put(TypeTag::kNone);
    case TypeKind::BoolType:
      return put(TypeTag::kBool);
    case TypeKind::IntType:
      return put(TypeTag::kInt);
    case TypeKind::FloatType:
      return put(TypeTag::kFloat);
    case TypeKind::ComplexType:
      return put(TypeTag::kComplex);
    case TypeKind::NumberType:
      return put(TypeTag::kNumber);
    case TypeKind::StringType:
      return put(TypeTag::kString);
    case TypeKind::DeviceObjType:
      return put(TypeTag::kDevice);
    case TypeKind::OptionalType:
      put(TypeTag::kOptional);
      return put_type(out, type->expectRef<c10::OptionalType>().getElementType(), depth + 1);
    case TypeKind::ListType:
      put(TypeTag::kList);
      return put_type(out, type->expectRef<c10::ListType>().getElementType(), depth + 1);
    case TypeKind::DictType:
      put(TypeTag::kDict);
      put_type(out, type->expectRef<c10::DictType>().getKeyType(), depth + 1);
      return put_type(out, type->expectRef<c10::DictType>().getValueType(), depth + 1);
    case TypeKind::TupleType: {
      const auto& tuple = type->expectRef<c10::TupleType>();
      const auto elements = tuple.elements();
      const bool named = tuple.schema() != nullptr;
      put(named ? TypeTag::kNamedTuple : TypeTag::kTuple);
      if (named) {
        if (!tuple.name()) cannot("a tuple type that has fields and no name");
        out.put_text(tuple.name()->qualifiedName());
      }
      out.put(std::uint64_t{elements.size()});
      for (std::size_t i = 0; i < elements.size(); ++i) {
        if (named) out.put_text(tuple.schema()->arguments()[i].name());
        put_type(out, elements[i], depth + 1);
      }
      return;
    }
    default:
      cannot("the type " + type->repr_str());
  }
}

}  // namespace

/// One walk over values. Without a channel's blocks it only counts.
class ValueWriter {
 public:
  ValueWriter(Channel& channel, TimePoint deadline) : deadline_(deadline), result_(channel) {}

  [[nodiscard]] std::optional<EncodedValues> write(const std::vector<IValue>& values);
  [[nodiscard]] static std::size_t count(const std::vector<IValue>& values, const Channel& channel);

 private:
  /// The elements of a tensor, copied or to be copied.
  struct Elements {
    at::Tensor tensor;  ///< Perhaps a copy made here, which must live until its turn.
    std::size_t bytes = 0;
    std::size_t begin = 0;  ///< In the frame's tail, or in the block.
    Block block{};          ///< Ours; lent once for each tensor in it.
  };

  /// The same elements again, if they were given shortly before.
  [[nodiscard]] static const Elements* find(const std::vector<Elements>& all,
                                            const at::Tensor& tensor, std::size_t bytes) {
    constexpr std::ptrdiff_t kLookBack = 16;
    const auto end = std::min<std::ptrdiff_t>(kLookBack, std::ssize(all));
    const auto found = std::find_if(all.rbegin(), all.rbegin() + end, [&](const Elements& known) {
      return known.bytes == bytes && known.tensor.data_ptr() == tensor.data_ptr();
    });
    return found == all.rbegin() + end ? nullptr : &*found;
  }

  explicit ValueWriter(const Channel& channel)
      // Nothing is allocated or lent in a walk that counts.
      : counting_(true), result_(const_cast<Channel&>(channel)) {}

  void walk(const std::vector<IValue>& values);
  void put(const IValue& value, std::size_t depth);
  void put_elements(std::string_view what, c10::ArrayRef<IValue> elements, std::size_t depth);
  void put_dict(const IValue& value, std::size_t depth);
  void put_tuple(const IValue& value, std::size_t depth);
  void put(at::Tensor tensor);
  void put_in_frame(const at::Tensor& tensor, std::size_t bytes);
  void put_in_block(const at::Tensor& tensor, std::size_t bytes);
  void put_lent(const Block& block, std::size_t begin);

  const bool counting_ = false;
  TimePoint deadline_{};
  EncodedValues result_;
  Structure structure_;
  std::vector<Elements> in_frame_;
  std::vector<Elements> in_blocks_;
  std::vector<std::size_t> frame_begins_;  ///< Places in the structure, to be moved to the tail.
  std::size_t tail_bytes_ = 0;
  std::size_t block_bytes_ = 0;
  bool no_room_ = false;
};

std::optional<EncodedValues> ValueWriter::write(const std::vector<IValue>& values) {
  walk(values);
  if (no_room_) return std::nullopt;
  const std::size_t tail = round_up(sizeof(FrameHeader) + structure_.size());
  Channel& channel = *result_.channel_;
  const std::optional<Block> frame = channel.allocate(tail + tail_bytes_, deadline_);
  if (!frame) return std::nullopt;
  for (const std::size_t place : frame_begins_) {
    std::uint64_t begin = 0;
    std::memcpy(&begin, structure_.data() + place, sizeof(begin));
    structure_.put_at(place, begin + tail);
  }
  const FrameHeader header{.values = values.size(), .structure_bytes = structure_.size()};
  std::memcpy(frame->data(), &header, sizeof(header));
  if (structure_.size() != 0) {  // No values at all: then there is nothing to point to, either.
    std::memcpy(frame->data() + sizeof(header), structure_.data(), structure_.size());
  }
  for (const Elements& elements : in_frame_) {
    std::memcpy(frame->data() + tail + elements.begin, elements.tensor.data_ptr(), elements.bytes);
  }
  result_.copied_ += tail + tail_bytes_;
  const std::optional<BlockReference> lent = channel.lend(*frame);
  if (!lent) return std::nullopt;
  result_.loans_.push_back(*lent);
  result_.frame_ = *lent;
  return std::move(result_);
}

std::size_t ValueWriter::count(const std::vector<IValue>& values, const Channel& channel) {
  ValueWriter writer(channel);
  writer.walk(values);
  return round_up(sizeof(FrameHeader) + writer.structure_.size()) + writer.tail_bytes_ +
         writer.block_bytes_;
}

void ValueWriter::walk(const std::vector<IValue>& values) {
  for (std::size_t i = 0; i < values.size() && !no_room_; ++i) {
    within("value", i, [&] { put(values[i], 0); });
  }
}

void ValueWriter::put(const IValue& value, std::size_t depth) {
  if (depth == codec::kMaxDepth) cannot("a value more than 64 deep");
  if (value.isTensor()) {
    put(value.toTensor());
  } else if (value.isNone()) {
    structure_.put(Tag::kNone);
  } else if (value.isBool()) {
    structure_.put(value.toBool() ? Tag::kTrue : Tag::kFalse);
  } else if (value.isInt()) {
    structure_.put(Tag::kInt);
    structure_.put(value.toInt());
  } else if (value.isDouble()) {
    structure_.put(Tag::kFloat);
    structure_.put(value.toDouble());
  } else if (value.isComplexDouble()) {
    const c10::complex<double> number = value.toComplexDouble();
    structure_.put(Tag::kComplex);
    structure_.put(number.real());
    structure_.put(number.imag());
  } else if (value.isString()) {
    structure_.put(Tag::kString);
    structure_.put_text(value.toStringRef());
  } else if (value.isDevice()) {
    const c10::Device device = value.toDevice();
    structure_.put(Tag::kDevice);
    structure_.put(static_cast<std::int8_t>(device.type()));
    structure_.put(static_cast<std::int8_t>(device.index()));
  } else if (value.isList()) {
    structure_.put(Tag::kList);
    put_type(structure_, value.toList().elementType(), depth);
    structure_.put(std::uint64_t{value.toListRef().size()});
    put_elements("element", value.toListRef(), depth);
  } else if (value.isGenericDict()) {
    put_dict(value, depth);
  } else if (value.isTuple()) {
    put_tuple(value, depth);
  } else {
    cannot("a value of kind " + value.tagKind());
  }
}

void ValueWriter::put_elements(std::string_view what, c10::ArrayRef<IValue> elements,
                               std::size_t depth) {
  for (std::size_t i = 0; i < elements.size() && !no_room_; ++i) {
    within(what, i, [&] { put(elements[i], depth + 1); });
  }
}

void ValueWriter::put_dict(const IValue& value, std::size_t depth) {
  const auto dict = value.toGenericDict();
  structure_.put(Tag::kDict);
  put_type(structure_, dict.keyType(), depth);
  put_type(structure_, dict.valueType(), depth);
  structure_.put(std::uint64_t{dict.size()});
  std::size_t index = 0;
  for (const auto& entry : dict) {
    within("entry", index++, [&] {
      const IValue& key = entry.key();
      if (!key.isString() && !key.isInt() && !key.isDouble() && !key.isBool()) {
        cannot("a key of kind " + key.tagKind());
      }
      put(key, depth + 1);
      put(entry.value(), depth + 1);
    });
  }
}

void ValueWriter::put_tuple(const IValue& value, std::size_t depth) {
  const auto& tuple = value.toTupleRef();
  const auto& elements = tuple.elements();
  if (const c10::TypePtr type = named_type(tuple)) {
    structure_.put(Tag::kNamedTuple);
    put_type(structure_, type, depth);
  } else {
    structure_.put(Tag::kTuple);
    structure_.put(std::uint64_t{elements.size()});
  }
  put_elements("element", elements, depth);
}

// ---- tensors ----

void ValueWriter::put(at::Tensor tensor) {
  if (!tensor.defined()) return structure_.put(Tag::kUndefinedTensor);
  if (!can_be_carried(tensor)) cannot(text_of(tensor));
  if (tensor._is_zerotensor()) tensor = tensor.clone();
  const auto shape_of = [](const at::Tensor& t) {
    return TensorShape{
        .dtype = t.scalar_type(), .sizes = t.sizes().vec(), .strides = t.strides().vec()};
  };
  const auto flags = static_cast<std::uint8_t>((tensor.is_conj() ? codec::kConjugated : 0) |
                                               (tensor.is_neg() ? codec::kNegated : 0));
  TensorShape shape = shape_of(tensor);
  const Block* block = block_of(tensor);
  const bool lend = block != nullptr && result_.channel_->is_ours(*block);
  std::size_t bytes = extent_of(shape).value();
  if (!lend && bytes > codec::kPlace && bytes / 2 > tensor.nbytes()) {
    // The bytes as they are, whatever the flags say: libtorch cannot resolve them for every dtype.
    if (tensor.is_conj()) tensor = tensor.conj();
    if (tensor.is_neg()) tensor = tensor._neg_view();
    tensor = tensor.contiguous();
    shape = shape_of(tensor);
    bytes = tensor.nbytes();
  }
  if (shape.sizes.size() > codec::kMaxRank) cannot("a tensor of more than 64 dimensions");

  structure_.put(Tag::kTensor);
  structure_.put(static_cast<std::int8_t>(shape.dtype));
  structure_.put(flags);
  structure_.put(bytes == 0                      ? Placement::kNowhere
                 : lend                          ? Placement::kInBlock
                 : bytes >= codec::kOwnBlockFrom ? Placement::kInBlock
                                                 : Placement::kInFrame);
  structure_.put(static_cast<std::uint8_t>(shape.sizes.size()));
  structure_.put_bytes(shape.sizes.data(), shape.sizes.size() * sizeof(std::int64_t));
  structure_.put_bytes(shape.strides.data(), shape.strides.size() * sizeof(std::int64_t));
  if (bytes == 0) return;
  if (lend) {
    result_.lent_ += bytes;
    put_lent(*block, static_cast<const std::byte*>(tensor.data_ptr()) - block->data());
  } else if (bytes >= codec::kOwnBlockFrom) {
    put_in_block(tensor, bytes);
  } else {
    put_in_frame(tensor, bytes);
  }
}

void ValueWriter::put_in_frame(const at::Tensor& tensor, std::size_t bytes) {
  const Elements* elements = find(in_frame_, tensor, bytes);
  if (elements == nullptr) {
    const std::size_t begin = round_up(tail_bytes_) + begin_for(tensor);
    tail_bytes_ = begin + bytes;
    elements = &in_frame_.emplace_back(Elements{.tensor = tensor, .bytes = bytes, .begin = begin});
  }
  frame_begins_.push_back(structure_.size());
  structure_.put(std::uint64_t{elements->begin});
}

void ValueWriter::put_in_block(const at::Tensor& tensor, std::size_t bytes) {
  const Elements* elements = find(in_blocks_, tensor, bytes);
  if (elements == nullptr) {
    const std::size_t begin = begin_for(tensor);
    Elements copy{.tensor = tensor, .bytes = bytes, .begin = begin};
    block_bytes_ += round_up(begin + bytes);
    if (!counting_) {
      std::optional<Block> block = result_.channel_->allocate(begin + bytes, deadline_);
      if (!block) {
        no_room_ = true;
        return;
      }
      std::memcpy(block->data() + begin, tensor.data_ptr(), bytes);
      result_.copied_ += bytes;
      copy.block = *std::move(block);
    }
    elements = &in_blocks_.emplace_back(std::move(copy));
  }
  put_lent(elements->block, elements->begin);
}

void ValueWriter::put_lent(const Block& block, std::size_t begin) {
  BlockReference reference;
  if (!counting_) {
    const std::optional<BlockReference> lent = result_.channel_->lend(block);
    if (!lent) {
      no_room_ = true;
      return;
    }
    reference = *lent;
    result_.loans_.push_back(reference);
  }
  structure_.put(reference.offset);
  structure_.put(reference.bytes);
  structure_.put(std::uint64_t{begin});
}

// ---- what others see ----

EncodedValues::~EncodedValues() {
  for (const BlockReference loan : loans_) channel_->take_back(loan);
}

EncodedValues::EncodedValues(EncodedValues&& other) noexcept
    : channel_(other.channel_),
      frame_(other.frame_),
      loans_(std::exchange(other.loans_, {})),
      copied_(other.copied_),
      lent_(other.lent_) {}

std::optional<EncodedValues> encode(const std::vector<IValue>& values, Channel& channel,
                                    TimePoint deadline) {
  try {
    return ValueWriter(channel, deadline).write(values);
  } catch (const c10::Error& error) {
    throw CodecError(std::string("libtorch cannot copy a value: ") +
                     error.what_without_backtrace());
  }
}

std::size_t encoded_bytes(const std::vector<IValue>& values, const Channel& channel) {
  return ValueWriter::count(values, channel);
}

}  // namespace streamgate::executor

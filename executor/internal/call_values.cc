// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/internal/call_values.h>

#include <ATen/core/ivalue_inl.h>
#include <ATen/core/jit_type.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::IValue;

/// Before each value in CallParts::rest, so that no two kinds look alike.
enum Tag : std::int64_t { kNone, kTensor, kBool, kInt, kDouble, kString, kDevice, kList, kTuple };

void add_text(const std::string& text, std::vector<std::int64_t>& words) {
  words.push_back(static_cast<std::int64_t>(text.size()));
  for (std::size_t at = 0; at < text.size(); at += sizeof(std::int64_t)) {
    std::int64_t word = 0;
    std::memcpy(&word, text.data() + at, std::min(sizeof(word), text.size() - at));
    words.push_back(word);
  }
}

void take_apart(const IValue& value, CallParts& parts) {
  std::vector<std::int64_t>& rest = parts.rest;
  const auto add = [&](Tag tag, std::int64_t word) {
    rest.push_back(tag);
    rest.push_back(word);
  };
  if (value.isTensor()) {
    if (!value.toTensor().defined()) return rest.push_back(kNone);
    rest.push_back(kTensor);
    parts.tensors.push_back(value.toTensor());
  } else if (value.isNone()) {
    rest.push_back(kNone);
  } else if (value.isBool()) {
    add(kBool, value.toBool() ? 1 : 0);
  } else if (value.isInt()) {
    add(kInt, value.toInt());
  } else if (value.isDouble()) {
    add(kDouble, std::bit_cast<std::int64_t>(value.toDouble()));
  } else if (value.isString()) {
    rest.push_back(kString);
    add_text(value.toStringRef(), rest);
  } else if (value.isDevice()) {
    const at::Device device = value.toDevice();
    add(kDevice, (static_cast<std::int64_t>(device.type()) << 32) + device.index());
  } else if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    add(kTuple, static_cast<std::int64_t>(elements.size()));
    for (const IValue& element : elements) take_apart(element, parts);
  } else if (value.isList()) {
    const c10::List<IValue> list = value.toList();
    add(kList, static_cast<std::int64_t>(list.size()));
    for (std::size_t i = 0; i < list.size(); ++i) take_apart(list.get(i), parts);
  } else {
    parts.complete = false;
  }
}

using Change = std::function<at::Tensor(const at::Tensor&)>;

IValue changed(const IValue& value, const Change& change) {
  if (value.isTensor()) {
    return value.toTensor().defined() ? IValue(change(value.toTensor())) : value;
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> tensors;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      tensors.push_back(tensor.defined() ? change(tensor) : tensor);
    }
    return tensors;
  }
  if (value.isTuple()) {
    std::vector<IValue> elements;
    for (const IValue& element : value.toTupleRef().elements()) {
      elements.push_back(changed(element, change));
    }
    // With its names, if it has any.
    return c10::ivalue::Tuple::createNamed(std::move(elements),
                                           value.type()->cast<c10::TupleType>());
  }
  if (value.isList()) {
    const c10::List<IValue> list = value.toList();
    c10::impl::GenericList copy(list.elementType());
    for (std::size_t i = 0; i < list.size(); ++i) copy.push_back(changed(list.get(i), change));
    return copy;
  }
  if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    c10::impl::GenericDict copy(dict.keyType(), dict.valueType());
    for (const auto& entry : dict) {
      copy.insert(changed(entry.key(), change), changed(entry.value(), change));
    }
    return copy;
  }
  return value;
}

}  // namespace

CallParts take_apart(const std::vector<IValue>& values) {
  CallParts parts;
  for (const IValue& value : values) take_apart(value, parts);
  return parts;
}

std::vector<IValue> with_tensors(const std::vector<IValue>& values,
                                 const std::vector<at::Tensor>& tensors) {
  std::size_t next = 0;
  const Change change = [&](const at::Tensor&) { return tensors.at(next++); };
  std::vector<IValue> others;
  // One more than there are, for a method's own first argument.
  others.reserve(values.size() + 1);
  for (const IValue& value : values) others.push_back(changed(value, change));
  return others;
}

IValue moved(const IValue& value, at::Device device) {
  return changed(value, [device](const at::Tensor& tensor) {
    return tensor.device() == device ? tensor : tensor.to(device);
  });
}

}  // namespace streamgate::executor

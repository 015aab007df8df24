// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/fingerprint.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue_inl.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

namespace streamgate::executor {
namespace {

using c10::IValue;

class Fingerprint {
 public:
  enum class Contents : std::uint8_t { kLookedAt, kLeftOut };
  explicit Fingerprint(Contents contents) : contents_(contents) {}

  void add(std::uint64_t word) noexcept {
    // The mixing step of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
    // generators, 2014), of what was there before and the word.
    state_ = (state_ ^ word) + 0x9e37'79b9'7f4a'7c15U;
    state_ = (state_ ^ (state_ >> 30U)) * 0xbf58'476d'1ce4'e5b9U;
    state_ = (state_ ^ (state_ >> 27U)) * 0x94d0'49bb'1331'11ebU;
    state_ ^= state_ >> 31U;
  }
  void add(std::string_view bytes) noexcept {
    add(bytes.size());
    while (bytes.size() >= sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), sizeof(word));
      add(word);
      bytes.remove_prefix(sizeof(word));
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, bytes.data(), bytes.size());
    if (!bytes.empty()) add(rest);
  }
  void add(const IValue& value);

  [[nodiscard]] std::uint64_t value() const noexcept { return state_; }

 private:
  void add(const at::Tensor& tensor);

  Contents contents_;
  std::uint64_t state_ = 0;
};

void Fingerprint::add(const at::Tensor& tensor) {
  if (!tensor.defined()) return add(std::uint64_t{0});
  add(static_cast<std::uint64_t>(tensor.scalar_type()) + 1);
  if (tensor.layout() != c10::kStrided || !tensor.device().is_cpu() || !tensor.has_storage()) {
    return add(std::uint64_t{1});
  }
  std::int64_t last = tensor.numel() == 0 ? -1 : 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    add(static_cast<std::uint64_t>(tensor.size(d)));
    add(static_cast<std::uint64_t>(tensor.stride(d)));
    if (last >= 0) last += (tensor.size(d) - 1) * tensor.stride(d);
  }
  if (contents_ == Contents::kLeftOut) return;
  constexpr std::size_t kLookedAt = 32 * 1024;
  const std::string_view bytes(static_cast<const char*>(tensor.data_ptr()),
                               static_cast<std::size_t>(last + 1) * tensor.element_size());
  add(bytes.substr(0, kLookedAt));
  if (bytes.size() > kLookedAt) add(bytes.substr(std::max(kLookedAt, bytes.size() - kLookedAt)));
}

void Fingerprint::add(const IValue& value) {
  if (value.isTensor()) {
    add(value.toTensor());
  } else if (value.isBool()) {
    add(value.toBool() ? std::uint64_t{3} : std::uint64_t{2});
  } else if (value.isInt()) {
    add(std::bit_cast<std::uint64_t>(value.toInt()));
  } else if (value.isDouble()) {
    add(std::bit_cast<std::uint64_t>(value.toDouble()));
  } else if (value.isString()) {
    add(std::string_view(value.toStringRef()));
  } else if (value.isList()) {
    add(value.toListRef().size());
    for (const IValue& element : value.toListRef()) add(element);
  } else if (value.isTuple()) {
    for (const IValue& element : value.toTupleRef().elements()) add(element);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      add(entry.key());
      add(entry.value());
    }
  } else {
    add(std::string_view(value.tagKind()));
  }
}

std::uint64_t number_of(std::string_view operation, const std::vector<IValue>& arguments,
                        Fingerprint::Contents contents) {
  Fingerprint fingerprint(contents);
  fingerprint.add(operation);
  for (const IValue& argument : arguments) fingerprint.add(argument);
  return fingerprint.value();
}

}  // namespace

std::uint64_t fingerprint_of(std::string_view operation, const std::vector<IValue>& arguments) {
  return number_of(operation, arguments, Fingerprint::Contents::kLookedAt);
}

std::uint64_t kind_of(std::string_view operation, const std::vector<IValue>& arguments) {
  return std::max<std::uint64_t>(1,
                                 number_of(operation, arguments, Fingerprint::Contents::kLeftOut));
}

}  // namespace streamgate::executor

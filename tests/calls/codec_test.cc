// SPDX-License-Identifier: Apache-2.0
//
// The codec: what arrives is what was sent, to the last bit; nothing is copied that need not be;
// nothing is lost of the arena; and nothing that a broken process writes does harm.
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/codec_format.h>
#include <streamgate/executor/workers/tensor_memory.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../workers/channel_pair.h"
#include "random_values.h"

namespace streamgate::executor {
namespace {

using c10::IValue;
using testing::ChannelPair;
using testing::difference;
using testing::guard;
using testing::RandomValues;

constexpr ChannelOptions kSmall{.host_arena_bytes = std::size_t{1} << 18,
                                .worker_arena_bytes = std::size_t{1} << 18};

/// From the host to the worker.
std::vector<IValue> carried(const std::vector<IValue>& values, ChannelPair& pair) {
  std::optional<EncodedValues> encoded = encode(values, pair.host, guard());
  if (!encoded) throw std::runtime_error("no room");
  encoded->sent();
  return decode(pair.worker.map(encoded->frame()), pair.worker);
}

std::string refusal(const IValue& value) {
  ChannelPair pair(kSmall);
  try {
    static_cast<void>(encode({1, value}, pair.host, guard()));
  } catch (const CodecError& error) {
    EXPECT_EQ(pair.host.used_bytes(), 0U) << "what was written before is given back";
    return error.what();
  }
  return "";
}

TEST(Codec, RandomValuesArriveBitForBit) {
  ChannelPair pair(
      {.host_arena_bytes = std::size_t{64} << 20, .worker_arena_bytes = std::size_t{1} << 20});
  for (std::uint64_t seed = 0; seed < 3'000; ++seed) {
    RandomValues random(seed);
    const std::vector<IValue> values = random.values();
    const std::vector<IValue> arrived = carried(values, pair);
    ASSERT_EQ(arrived.size(), values.size()) << "seed " << seed;
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(difference(values[i], arrived[i]), "") << "seed " << seed << ", value " << i;
    }
  }
  EXPECT_EQ(pair.host.used_bytes(), 0U);
  EXPECT_EQ(pair.host.end(), ChannelEnd::kOpen);
}

TEST(Codec, StridesAndPlaceAreKept) {
  ChannelPair pair;
  const at::Tensor base = at::arange(4'000, at::kFloat).reshape({40, 100});
  for (const at::Tensor& tensor :
       {base.t(), base.narrow(0, 3, 5), base.narrow(1, 1, 98), base.select(0, 7).narrow(0, 3, 20),
        base.narrow(0, 1, 1).expand({50, 100}), base.unfold(1, 10, 3)}) {
    const at::Tensor arrived = carried({tensor}, pair)[0].toTensor();
    EXPECT_EQ(difference(tensor, arrived), "");
    EXPECT_EQ(arrived.strides(), tensor.strides());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arrived.data_ptr()) % 64,
              reinterpret_cast<std::uintptr_t>(tensor.data_ptr()) % 64);
  }
  const at::Tensor spread = base.select(1, 0);
  const at::Tensor arrived = carried({spread}, pair)[0].toTensor();
  EXPECT_TRUE(at::equal(arrived, spread));
  EXPECT_TRUE(arrived.is_contiguous());
}

TEST(Codec, AnExpandedTensorTakesTheBytesThatItHas) {
  const ChannelPair pair;
  EXPECT_LT(encoded_bytes({at::ones({1}).expand({1'000'000})}, pair.host), 512U);
}

TEST(Codec, TheSameTensorTwiceIsCopiedOnce) {
  ChannelPair pair;
  for (const std::int64_t elements : {100, 100'000}) {
    const at::Tensor tensor = at::rand({elements});
    const auto once = encode({tensor}, pair.host, guard());
    const auto twice = encode({tensor, tensor}, pair.host, guard());
    EXPECT_LT(twice->copied_bytes() - once->copied_bytes(), 100U);
  }
  const at::Tensor tensor = at::rand({100'000});
  const std::vector<IValue> arrived = carried({tensor, tensor}, pair);
  EXPECT_EQ(difference(arrived[0], arrived[1]), "");
}

TEST(Codec, WhatNeedsNoRoomOfItsOwnIsLentAndNotCopied) {
  ChannelPair pair;
  const std::size_t bytes = 100'000 * sizeof(float);
  auto block = std::make_shared<const Block>(*pair.worker.allocate(bytes, guard()));
  const at::Tensor result = tensor_in(tensor_memory(std::move(block)), bytes,
                                      {.dtype = at::kFloat, .sizes = {100'000}, .strides = {1}});
  result.fill_(3);
  std::optional<EncodedValues> encoded = encode({result.narrow(0, 7, 1'000)}, pair.worker, guard());
  EXPECT_LT(encoded->copied_bytes(), 256U);
  EXPECT_EQ(encoded->lent_bytes(), 4'000U);
  encoded->sent();
  const at::Tensor arrived = decode(pair.host.map(encoded->frame()), pair.host)[0].toTensor();
  result.fill_(4);
  EXPECT_TRUE(at::equal(arrived, at::full({1'000}, 4.0F))) << "it is the same memory";
}

TEST(Codec, TheOtherSidesMemoryIsNotLentBackButCopied) {
  ChannelPair pair;
  const std::vector<IValue> there = carried({at::rand({50'000})}, pair);
  std::optional<EncodedValues> back = encode(there, pair.worker, guard());
  EXPECT_EQ(back->lent_bytes(), 0U);
  back->sent();
  EXPECT_EQ(difference(there[0], decode(pair.host.map(back->frame()), pair.host)[0]), "");
}

TEST(Codec, TensorsOutliveTheChannelAndGiveTheirMemoryBack) {
  auto pair = std::make_optional<ChannelPair>();
  const at::Tensor small = at::rand({10});
  const at::Tensor large = at::rand({50'000});
  std::vector<IValue> arrived = carried({small, large}, *pair);
  EXPECT_GT(pair->host.used_bytes(), large.nbytes());
  arrived[1] = IValue();
  EXPECT_LT(pair->host.used_bytes(), large.nbytes());
  arrived[1] = carried({large}, *pair)[0];
  pair.reset();
  EXPECT_EQ(difference(small, arrived[0]), "");
  EXPECT_EQ(difference(large, arrived[1]), "");
}

TEST(Codec, WithoutRoomNothingIsLeftBehind) {
  ChannelPair pair(kSmall);
  const at::Tensor large = at::rand({40'000});
  EXPECT_FALSE(encode({large, large + 1}, pair.host, testing::soon()).has_value());
  EXPECT_EQ(pair.host.used_bytes(), 0U);
  { const auto never_sent = encode({large, 1, "text"}, pair.host, guard()); }
  EXPECT_EQ(pair.host.used_bytes(), 0U);
}

TEST(Codec, TheBytesAreKnownBefore) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    ChannelPair pair;
    const std::vector<IValue> values = RandomValues(seed).values();
    const std::size_t expected = encoded_bytes(values, pair.host);
    EXPECT_EQ(pair.host.used_bytes(), 0U);
    const auto encoded = encode(values, pair.host, guard());
    EXPECT_LT(pair.host.used_bytes() - expected, 65U) << "seed " << seed;
  }
}

TEST(Codec, WhatCannotBeCarriedIsNamedWithItsPlace) {
  const auto expect_says = [](const std::string& text, std::vector<std::string> parts) {
    for (const std::string& part : parts) EXPECT_NE(text.find(part), text.npos) << text;
  };
  const at::Tensor large = at::rand({10'000});
  expect_says(refusal(at::rand({3, 3}).to_sparse()), {"value 1: ", "layout Sparse", "cannot be"});
  expect_says(refusal(at::empty({2}, at::TensorOptions().device(at::kMeta))), {"on meta"});
  expect_says(refusal(at::quantize_per_tensor(at::rand({2}), 0.1, 0, at::kQInt8)), {"QInt8"});
  expect_says(refusal(std::vector<at::Tensor>{large, large.to_sparse()}), {"value 1: element 1: "});
  expect_says(refusal(at::Generator()), {"kind"});
  c10::impl::GenericDict by_tensor(c10::TensorType::get(), c10::IntType::get());
  by_tensor.insert(at::rand({2}), 1);
  expect_says(refusal(by_tensor), {"entry 0", "key of kind Tensor"});
  IValue deep = 1;
  for (int i = 0; i < 70; ++i) deep = c10::ivalue::Tuple::create({deep});
  expect_says(refusal(deep), {"64 deep"});
}

// ---- a broken process ----

/// Has the worker decode these bytes. What it may do is say that they are wrong; what it says is
/// right must lie where it may be read.
/// Whether all of it can be read in a moment: a stride of 0 makes a tensor of any size of a few
/// bytes, here as where it comes from.
bool is_small(const IValue& value) {
  if (value.isTensor()) return !value.toTensor().defined() || value.toTensor().numel() < 1 << 20;
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    return std::all_of(elements.begin(), elements.end(), is_small);
  }
  if (value.isList()) {
    const auto elements = value.toListRef();
    return std::all_of(elements.begin(), elements.end(), is_small);
  }
  if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      if (!is_small(entry.value())) return false;
    }
  }
  return true;
}

bool survives(const std::string& bytes, ChannelPair& pair) {
  const std::optional<Block> block = pair.host.allocate(bytes.size(), testing::soon());
  if (!block) return false;
  std::memcpy(block->data(), bytes.data(), bytes.size());
  const std::optional<BlockReference> lent = pair.host.lend(*block);
  if (!lent) return false;
  try {
    for (const IValue& value : decode(pair.worker.map(*lent), pair.worker)) {
      if (is_small(value)) static_cast<void>(difference(value, value));
    }
  } catch (const CodecError&) {
  } catch (const ChannelError&) {
  }
  return true;
}

/// A frame as it lies in the arena; its blocks stay lent, so that what it names is there. Empty
/// without room.
std::string frame_of(const std::vector<IValue>& values, ChannelPair& pair) {
  std::optional<EncodedValues> encoded = encode(values, pair.host, testing::soon());
  if (!encoded) return "";
  encoded->sent();
  const Block frame = pair.worker.map(encoded->frame());
  return {reinterpret_cast<const char*>(frame.data()), frame.bytes()};
}

TEST(Codec, MutatedFramesAreRefusedOrHarmless) {
  std::optional<ChannelPair> pair;
  std::mt19937_64 random(7);
  for (std::uint64_t seed = 0; seed < 4'000; ++seed) {
    // What was given back and never lent has ended it, and what was never given back has filled it.
    if (!pair || pair->host.end() != ChannelEnd::kOpen || seed % 32 == 0) pair.emplace(kSmall);
    std::string bytes = frame_of(RandomValues(seed % 500).values(), *pair);
    if (bytes.empty()) {
      pair.reset();
      continue;
    }
    for (std::uint64_t i = random() % 4 + 1; i-- > 0;) {
      char& byte = bytes[random() % bytes.size()];
      byte = static_cast<char>(random() % 3 == 0 ? random() : byte ^ (1 << (random() % 8)));
    }
    if (random() % 8 == 0) bytes.resize(random() % bytes.size() + 1);
    SCOPED_TRACE("seed " + std::to_string(seed));
    if (!survives(bytes, *pair)) pair.reset();
  }
}

/// Whether a frame of the value is refused once it was changed so.
bool is_refused(const IValue& value, const std::function<void(std::string&)>& lie) {
  ChannelPair pair(kSmall);
  std::string bytes = frame_of({value}, pair);
  lie(bytes);
  const std::optional<Block> block = pair.host.allocate(bytes.size(), guard());
  std::memcpy(block->data(), bytes.data(), bytes.size());
  try {
    static_cast<void>(decode(pair.worker.map(*pair.host.lend(*block)), pair.worker));
  } catch (const CodecError&) {
    return true;
  } catch (const ChannelError&) {
    return true;
  }
  return false;
}

template <typename T>
std::function<void(std::string&)> set(std::size_t place, T value) {
  return [=](std::string& bytes) { std::memcpy(bytes.data() + place, &value, sizeof(value)); };
}

TEST(Codec, AnElementThatIsNotOfItsListsTypeIsRefused) {
  const IValue list = c10::List<std::int64_t>({5});
  constexpr std::size_t kType = sizeof(codec::FrameHeader) + 1;
  constexpr std::size_t kElement = kType + 1 + sizeof(std::uint64_t);
  const auto lie = [](std::size_t place, auto was, auto is) {
    return [=](std::string& bytes) {
      ASSERT_EQ(bytes[place], static_cast<char>(was)) << "the format is another one";
      bytes[place] = static_cast<char>(is);
    };
  };
  EXPECT_FALSE(is_refused(list, lie(kElement, codec::Tag::kInt, codec::Tag::kInt)));
  EXPECT_TRUE(is_refused(list, lie(kElement, codec::Tag::kInt, codec::Tag::kFloat)));
  EXPECT_TRUE(is_refused(list, lie(kType, codec::TypeTag::kInt, codec::TypeTag::kTensor)));
}

TEST(Codec, FramesThatLieAreRefused) {
  const auto refused = [x = at::rand({4, 4})](const std::function<void(std::string&)>& lie) {
    return is_refused(x, lie);
  };
  constexpr std::size_t kTensor = sizeof(codec::FrameHeader);
  constexpr std::size_t kSizes = kTensor + 5;
  constexpr std::size_t kStrides = kSizes + 16;
  constexpr std::size_t kBegin = kStrides + 16;
  EXPECT_FALSE(refused([](std::string&) {})) << "as it is, it is right";
  EXPECT_TRUE(refused(set(0, std::uint64_t{1}))) << "magic";
  EXPECT_TRUE(refused(set(8, std::uint64_t{2}))) << "more values than there are";
  EXPECT_TRUE(refused(set(8, std::uint64_t{0}))) << "fewer values than there are";
  EXPECT_TRUE(refused(set(8, ~std::uint64_t{0}))) << "a count beyond all bytes";
  EXPECT_TRUE(refused(set(16, ~std::uint64_t{0}))) << "structure beyond the block";
  EXPECT_TRUE(refused(set(kTensor, std::uint8_t{200}))) << "a tag";
  EXPECT_TRUE(refused(set(kTensor + 1, std::int8_t{-1}))) << "a dtype";
  EXPECT_TRUE(refused(set(kTensor + 1, static_cast<std::int8_t>(at::kQInt8)))) << "quantised";
  EXPECT_TRUE(refused(set(kTensor + 2, std::uint8_t{1}))) << "a conjugated float";
  EXPECT_TRUE(refused(set(kTensor + 2, std::uint8_t{8}))) << "a flag that is none";
  EXPECT_TRUE(refused(set(kTensor + 3, std::uint8_t{9}))) << "a placement";
  EXPECT_TRUE(refused(set(kTensor + 4, std::uint8_t{255}))) << "a rank";
  EXPECT_TRUE(refused(set(kSizes, std::int64_t{-4}))) << "a negative size";
  EXPECT_TRUE(refused(set(kSizes, std::int64_t{1} << 62))) << "elements that cannot be counted";
  EXPECT_TRUE(refused(set(kSizes, std::int64_t{4'000}))) << "beyond the block";
  EXPECT_TRUE(refused(set(kSizes, std::int64_t{0}))) << "no elements, but a place for them";
  EXPECT_TRUE(refused(set(kStrides, std::int64_t{1} << 61))) << "a stride that overflows";
  EXPECT_TRUE(refused(set(kStrides, std::int64_t{1'000}))) << "a stride beyond the block";
  EXPECT_TRUE(refused(set(kStrides, std::int64_t{-1}))) << "a negative stride";
  EXPECT_TRUE(refused(set(kBegin, ~std::uint64_t{0}))) << "a beginning beyond the block";
  EXPECT_TRUE(refused(set(kBegin, std::uint64_t{66}))) << "a beginning that is not aligned";
}

}  // namespace
}  // namespace streamgate::executor

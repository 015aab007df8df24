// SPDX-License-Identifier: Apache-2.0
//
// How values lie in a frame: a header, then the structure, a stream of tags and fields without
// gaps, then the elements of small tensors. Both sides are of one build of one machine, so numbers
// are as the processor has them. Only the two halves of the codec, and tests, include this.
#pragma once

#include <cstddef>
#include <cstdint>

namespace streamgate::executor::codec {

inline constexpr std::uint64_t kFrameMagic = 0x3173'6575'6c61'7673;  // "svalues1"

struct FrameHeader {
  std::uint64_t magic = kFrameMagic;
  std::uint64_t values = 0;
  std::uint64_t structure_bytes = 0;  ///< Right behind the header.
};

/// A value. What follows the tag is said at each.
enum class Tag : std::uint8_t {
  kNone = 1,
  kFalse,
  kTrue,
  kInt,      ///< i64
  kFloat,    ///< The 8 bytes of a double.
  kComplex,  ///< Two of them.
  kString,   ///< u64 bytes, the bytes
  kDevice,   ///< i8 type, i8 index
  kUndefinedTensor,
  kTensor,     ///< See Placement.
  kList,       ///< type of the elements, u64 count, the elements
  kDict,       ///< types of keys and values, u64 count, key and value in turns
  kTuple,      ///< u64 count, the elements
  kNamedTuple  ///< The type, as kNamedTuple of TypeTag; the elements
};

/// A type of elements. Those of one kind have nothing behind the tag.
enum class TypeTag : std::uint8_t {
  kAny = 1,
  kTensor,
  kNone,
  kBool,
  kInt,
  kFloat,
  kComplex,
  kNumber,
  kString,
  kDevice,
  kOptional,   ///< type
  kList,       ///< type
  kDict,       ///< two types
  kTuple,      ///< u64 count, types
  kNamedTuple  ///< string name, u64 count, string and type in turns
};

/// Where a tensor's elements are. A tensor is: i8 dtype, u8 flags, u8 placement, u8 rank, i64
/// sizes, i64 strides, and then what is said here.
enum class Placement : std::uint8_t {
  kNowhere = 1,  ///< There are none.
  kInFrame,      ///< u64 begin, in the frame
  kInBlock       ///< u64 offset and u64 bytes of the block, u64 begin in it
};

inline constexpr std::uint8_t kConjugated = 1;
inline constexpr std::uint8_t kNegated = 2;

inline constexpr std::size_t kMaxDepth = 64;
inline constexpr std::size_t kMaxRank = 64;
/// Elements of a tensor keep their place within so many bytes.
inline constexpr std::size_t kPlace = 64;
/// Smaller tensors go into the frame: a block of their own costs more than that copy.
inline constexpr std::size_t kOwnBlockFrom = 16 * 1024;

}  // namespace streamgate::executor::codec

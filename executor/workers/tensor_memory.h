// SPDX-License-Identifier: Apache-2.0
//
// Tensors whose elements lie in blocks of a channel: how libtorch's memory comes to hold a block,
// and how one finds the block again. What goes through the channel is the codec's business.
#pragma once

#include <streamgate/executor/workers/channel.h>

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace streamgate::executor {

/// Memory in a block, `begin` bytes from its beginning. The block ends with the last memory in it:
/// with the last tensor, wherever that is dropped, and whatever became of the channel. Shared by
/// those memories. `owner` is the number of the worker whose arena it is for, if somebody will ask.
[[nodiscard]] c10::DataPtr tensor_memory(std::shared_ptr<const Block> block, std::size_t begin = 0,
                                         std::uint64_t owner = 0);

/// The same for an allocator whose memory libtorch may also end by its address alone
/// (Allocator::raw_deallocate, as oneDNN's operators do): keeps the block until end_memory_at is
/// called with the address of its first byte, which is returned.
[[nodiscard]] void* keep_memory(Block block);
/// False where no block is kept at that address.
[[nodiscard]] bool end_memory_at(void* address) noexcept;

/// The block that a tensor's storage lies in; null for memory that is of neither of these.
[[nodiscard]] const Block* block_of(const at::Tensor& tensor) noexcept;

/// What tensor_memory was told; 0 for all other memory.
[[nodiscard]] std::uint64_t owner_of(const at::Tensor& tensor) noexcept;

/// A strided tensor as it lies in memory.
struct TensorShape {
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<std::int64_t> sizes{};
  std::vector<std::int64_t> strides{};  ///< In elements.
};

/// The bytes from the first element to the end of the last; nothing where they cannot be counted.
/// REQUIRES: no size and no stride is negative.
[[nodiscard]] std::optional<std::size_t> extent_of(const TensorShape& shape) noexcept;

/// REQUIRES: the memory has extent_of(shape) bytes, aligned for the dtype.
[[nodiscard]] at::Tensor tensor_in(c10::DataPtr memory, std::size_t bytes,
                                   const TensorShape& shape);

}  // namespace streamgate::executor

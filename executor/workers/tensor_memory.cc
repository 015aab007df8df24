// SPDX-License-Identifier: Apache-2.0
//
// Blocks as libtorch's memory. A tensor is made by hand, not by at::from_blob: that keeps a
// std::function for the end of the memory, in which no block can be found again.
#include <streamgate/executor/workers/tensor_memory.h>

#include <ATen/EmptyTensor.h>
#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>

#include <limits>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

namespace streamgate::executor {
namespace {

struct Memory {
  std::shared_ptr<const Block> block;
  std::uint64_t owner = 0;
};

/// Its address is also how memory of ours is known.
void end_memory(void* context) { delete static_cast<Memory*>(context); }

const Memory* memory_of(const at::Tensor& tensor) noexcept {
  if (!tensor.defined() || !tensor.has_storage()) return nullptr;
  const c10::DataPtr& data = tensor.storage().data_ptr();
  return data.get_deleter() == &end_memory ? static_cast<const Memory*>(data.get_context())
                                           : nullptr;
}

/// Blocks that are kept by their address.
struct Kept {
  std::mutex mutex;
  std::unordered_map<const void*, Block> blocks;
};
Kept& kept() {
  // Never destroyed: tensors of static storage end after main.
  static auto& all = *new Kept;
  return all;
}

}  // namespace

void* keep_memory(Block block) {
  void* const address = block.data();
  const std::lock_guard lock(kept().mutex);
  kept().blocks.emplace(address, std::move(block));
  return address;
}

bool end_memory_at(void* address) noexcept {
  std::unordered_map<const void*, Block>::node_type ended;  // Gives back without the lock.
  const std::lock_guard lock(kept().mutex);
  ended = kept().blocks.extract(address);
  return !ended.empty();
}

c10::DataPtr tensor_memory(std::shared_ptr<const Block> block, std::size_t begin,
                           std::uint64_t owner) {
  std::byte* const data = block->data() + begin;
  auto memory = std::make_unique<Memory>(Memory{.block = std::move(block), .owner = owner});
  return {data, memory.release(), &end_memory, c10::Device(c10::DeviceType::CPU)};
}

const Block* block_of(const at::Tensor& tensor) noexcept {
  if (const Memory* const memory = memory_of(tensor)) return memory->block.get();
  if (!tensor.has_storage()) return nullptr;
  // It stays where it is as long as the tensor holds its memory.
  const std::lock_guard lock(kept().mutex);
  const auto found = kept().blocks.find(tensor.storage().data_ptr().get());
  return found == kept().blocks.end() ? nullptr : &found->second;
}

std::uint64_t owner_of(const at::Tensor& tensor) noexcept {
  const Memory* const memory = memory_of(tensor);
  return memory == nullptr ? 0 : memory->owner;
}

std::optional<std::size_t> extent_of(const TensorShape& shape) noexcept {
  // In elements first: the last one's place, and that of no size is there none.
  std::int64_t last = 0;
  std::int64_t count = 1;
  bool empty = false;
  for (std::size_t i = 0; i < shape.sizes.size(); ++i) {
    const std::int64_t size = shape.sizes[i];
    if (size == 0) {
      empty = true;
      continue;
    }
    std::int64_t step = 0;
    if (__builtin_mul_overflow(count, size, &count) ||
        __builtin_mul_overflow(size - 1, shape.strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return std::nullopt;
    }
  }
  const auto element = static_cast<std::int64_t>(c10::elementSize(shape.dtype));
  std::int64_t bytes = 0;
  // libtorch counts elements and bytes in 64 bits too, and does not check everywhere.
  if (last == std::numeric_limits<std::int64_t>::max() ||
      __builtin_mul_overflow(last + 1, element, &bytes) ||
      __builtin_mul_overflow(count, element, &count)) {
    return std::nullopt;
  }
  return empty ? 0 : static_cast<std::size_t>(bytes);
}

at::Tensor tensor_in(c10::DataPtr memory, std::size_t bytes, const TensorShape& shape) {
  c10::Storage storage(c10::Storage::use_byte_size_t(), static_cast<std::int64_t>(bytes),
                       std::move(memory), /*allocator=*/nullptr, /*resizable=*/false);
  at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU),
      c10::scalarTypeToTypeMeta(shape.dtype));
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(shape.sizes, shape.strides);
  return tensor;
}

}  // namespace streamgate::executor

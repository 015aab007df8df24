// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/arena_allocator.h>

#include <streamgate/executor/workers/tensor_memory.h>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

namespace streamgate::executor {
namespace {

std::atomic<Channel*> arena_of{nullptr};

class ArenaAllocator final : public c10::Allocator {
 public:
  explicit ArenaAllocator(c10::Allocator& ordinary) : ordinary_(ordinary) {}

  // Two of each, since libtorch dropped a const between 1.13 and 2.6, and asks for copy_data since.
  // Whichever it has is overridden.
  c10::DataPtr allocate(std::size_t bytes) const { return give(bytes); }
  c10::DataPtr allocate(std::size_t bytes) { return give(bytes); }
  void copy_data(void* to, const void* from, std::size_t bytes) const {
    std::memcpy(to, from, bytes);
  }
  // No raw_deleter: memory has one of two deleters, and libtorch is to keep the one it got.

 private:
  c10::DataPtr give(std::size_t bytes) const {
    // Acquire: pairs with the release that set it; the channel is whole.
    Channel* const channel = arena_of.load(std::memory_order_acquire);
    if (channel != nullptr && bytes >= kSmallestInArena) {
      std::optional<Block> block =
          channel->allocate(bytes, std::chrono::steady_clock::time_point::min());
      if (block) return tensor_memory(std::make_shared<const Block>(std::move(*block)));
    }
    return ordinary_.allocate(bytes);
  }

  c10::Allocator& ordinary_;
};

}  // namespace

ArenaAllocation::ArenaAllocation(Channel& channel) {
  // Never taken back: a tensor may ask its allocator for more as long as the process lives.
  static const bool installed = [] {
    c10::SetCPUAllocator(new ArenaAllocator(*c10::GetCPUAllocator()),
                         std::numeric_limits<std::uint8_t>::max());
    return true;
  }();
  static_cast<void>(installed);
  assert(arena_of.load() == nullptr);
  arena_of.store(&channel, std::memory_order_release);
}

ArenaAllocation::~ArenaAllocation() { arena_of.store(nullptr, std::memory_order_release); }

}  // namespace streamgate::executor

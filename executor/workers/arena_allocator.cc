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
#include <optional>
#include <utility>

namespace streamgate::executor {
namespace {

std::atomic<Channel*> arena_of{nullptr};

c10::Allocator* ordinary = nullptr;  ///< Set once, before the allocator below is libtorch's.

/// Both kinds of memory are ended by their address: operators of oneDNN take memory and give it
/// back by that alone (raw_allocate), and there is one way to end for all of it.
void end_either(void* address) {
  if (!end_memory_at(address)) ordinary->raw_deallocate(address);
}

class ArenaAllocator final : public c10::Allocator {
 public:
  // Two of each, since libtorch dropped a const between 1.13 and 2.6, and asks for copy_data since.
  // Whichever it has is overridden.
  c10::DataPtr allocate(std::size_t bytes) const { return give(bytes); }
  c10::DataPtr allocate(std::size_t bytes) { return give(bytes); }
  void copy_data(void* to, const void* from, std::size_t bytes) const {
    std::memcpy(to, from, bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return &end_either; }

 private:
  static c10::DataPtr give(std::size_t bytes) {
    // Acquire: pairs with the release that set it; the channel is whole.
    Channel* const channel = arena_of.load(std::memory_order_acquire);
    if (channel != nullptr && bytes >= kSmallestInArena) {
      std::optional<Block> block =
          channel->allocate(bytes, std::chrono::steady_clock::time_point::min());
      if (block) {
        void* const address = keep_memory(std::move(*block));
        return {address, address, &end_either, c10::Device(c10::DeviceType::CPU)};
      }
    }
    return ordinary->allocate(bytes);
  }
};

}  // namespace

ArenaAllocation::ArenaAllocation(Channel& channel) {
  // Never taken back: a tensor may ask its allocator for more as long as the process lives.
  static const bool installed = [] {
    ordinary = c10::GetCPUAllocator();
    c10::SetCPUAllocator(new ArenaAllocator, std::numeric_limits<std::uint8_t>::max());
    return true;
  }();
  static_cast<void>(installed);
  assert(arena_of.load() == nullptr);
  arena_of.store(&channel, std::memory_order_release);
}

ArenaAllocation::~ArenaAllocation() { arena_of.store(nullptr, std::memory_order_release); }

}  // namespace streamgate::executor

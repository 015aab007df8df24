// SPDX-License-Identifier: Apache-2.0
//
// Dispatch queues, messages, blocks and autorelease pools, as far as the MPS backend uses them.
#include <dispatch/dispatch.h>
#include <objc/runtime.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "stand_in.h"

namespace streamgate::testing::stand_in {
namespace {

using executor::metal::CommandBuffer;
using executor::metal::Stream;

/// The layout that the block ABI prescribes, with what this reader needs of it.
struct Block {
  struct Descriptor {
    unsigned long reserved;
    unsigned long size;
    const char* signature;
  };
  void* isa;
  int flags;
  int reserved;
  void (*invoke)(Block* self, void* argument);
  const Descriptor* descriptor;
};

/// What a token of a pool points at: how deep the pool lies.
thread_local std::vector<std::size_t*> pools;
std::atomic<std::size_t> pools_pushed{0};

Block* copied(const void* argument);

}  // namespace

std::size_t open_pools() { return pools.size(); }
std::size_t pushed_pools() { return pools_pushed; }

}  // namespace streamgate::testing::stand_in

namespace stand_in = streamgate::testing::stand_in;

extern "C" {

void* _NSConcreteStackBlock[32];

struct objc_selector {
  const char* name;
};

SEL sel_registerName(const char* name) {
  static objc_selector completed{"addCompletedHandler:"};
  if (std::string_view(name) != completed.name) stand_in::die("a message that nobody knows");
  return &completed;
}

/// Of the one message that is known. Declared without parameters, as Apple's is.
void objc_msgSend(void* self, SEL selector, const void* argument) {
  if (selector != sel_registerName("addCompletedHandler:")) stand_in::die("an unknown selector");
  auto& stream = stand_in::stream_being_encoded(self);
  stand_in::Block* const block = stand_in::copied(argument);
  stream.command_buffer().add_completed_handler([block, self] {
    stand_in::note_handler();
    block->invoke(block, self);
    std::free(block);
  });
}

void dispatch_sync_f(dispatch_queue_t queue, void* context, dispatch_function_t work) {
  reinterpret_cast<streamgate::executor::metal::Stream*>(queue)->run_sync([&] { work(context); });
}

void* objc_autoreleasePoolPush();
void* objc_autoreleasePoolPush() {
  auto* const depth = new std::size_t(stand_in::pools.size());
  stand_in::pools.push_back(depth);
  ++stand_in::pools_pushed;
  return depth;
}

void objc_autoreleasePoolPop(void* pool);
void objc_autoreleasePoolPop(void* pool) {
  if (stand_in::pools.empty() || stand_in::pools.back() != pool) {
    stand_in::die("an autorelease pool that is not this thread's innermost was popped");
  }
  delete stand_in::pools.back();
  stand_in::pools.pop_back();
}

}  // extern "C"

namespace streamgate::testing::stand_in {
namespace {

/// As Block_copy does for a block on the stack that has nothing to retain: bit by bit.
Block* copied(const void* argument) {
  const auto* const block = static_cast<const Block*>(argument);
  constexpr int kHasCopyDispose = 1 << 25;
  constexpr int kHasSignature = 1 << 30;
  if (block->isa != static_cast<void*>(_NSConcreteStackBlock)) die("not a block on the stack");
  if (block->flags != kHasSignature || (block->flags & kHasCopyDispose) != 0) die("unusual flags");
  if (block->descriptor->size < sizeof(Block)) die("a block smaller than its header");
  if (std::string_view(block->descriptor->signature) != "v16@?0@8")
    die("not a handler's signature");
  void* const copy = std::malloc(block->descriptor->size);
  std::memcpy(copy, block, block->descriptor->size);
  return static_cast<Block*>(copy);
}

}  // namespace
}  // namespace streamgate::testing::stand_in

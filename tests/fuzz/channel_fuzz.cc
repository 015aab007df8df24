// SPDX-License-Identifier: Apache-2.0
//
// A channel whose other side writes anything anywhere in the shared memory, in between the calls of
// this one. It may end the channel; it may not reach anything else.
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/channel_state.h>
#include <streamgate/executor/internal/descriptor.h>

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace {

using namespace streamgate::executor;

constexpr std::size_t kArena = 8 * kPage;

/// The bytes of one input, from the front.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return size_ == 0; }
  template <typename T>
  T take() {
    T value{};
    const std::size_t bytes = std::min(sizeof(value), size_);
    std::memcpy(&value, data_, bytes);
    data_ += bytes;
    size_ -= bytes;
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

volatile std::uint8_t sink;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Channel host = Channel::create({.host_arena_bytes = kArena, .worker_arena_bytes = kArena});
  // The other side's view, without its manners.
  const std::size_t bytes = kArenasBegin + 2 * kArena;
  void* const there =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, host.descriptor(), 0);
  if (there == MAP_FAILED) return 0;
  auto* const shared = static_cast<std::uint8_t*>(there);

  const auto now = std::chrono::steady_clock::time_point::min();
  std::vector<Block> ours;
  std::vector<Block> theirs;
  while (!input.empty()) {
    switch (input.take<std::uint8_t>() % 8) {
      case 0: {  // Anywhere.
        const auto place = input.take<std::uint32_t>() % bytes;
        shared[place] = input.take<std::uint8_t>();
        break;
      }
      case 1: {  // Where the counts of the rings are, which is where it hurts.
        auto& ring = reinterpret_cast<SharedChannel*>(there)->messages[1];
        ring.written.store(input.take<std::uint32_t>() % 512);
        break;
      }
      case 2: {
        auto& ring = reinterpret_cast<SharedChannel*>(there)->returns[0];
        ring.slots[input.take<std::uint8_t>()] = input.take<std::uint16_t>() * 64U;
        ring.written.fetch_add(1);
        break;
      }
      case 3:
        if (auto block = host.allocate(input.take<std::uint16_t>(), now); block && *block) {
          std::fill_n(block->data(), block->bytes(), std::byte{1});
          ours.push_back(std::move(*block));
        }
        break;
      case 4:
        if (!ours.empty()) {
          static_cast<void>(host.lend(ours.back()));
          ours.pop_back();
        }
        break;
      case 5: {
        const Received received = host.receive(now);
        if (received.status != ChannelStatus::kDone) break;
        try {
          theirs.push_back(host.map(received.message.block));
          for (std::size_t i = 0; i < theirs.back().bytes(); ++i) {
            sink = static_cast<std::uint8_t>(theirs.back().data()[i]);
          }
        } catch (const ChannelError&) {
        }
        break;
      }
      case 6:
        static_cast<void>(host.send({.call = input.take<std::uint8_t>()}, now));
        break;
      default:
        if (!theirs.empty()) theirs.pop_back();
    }
  }
  static_cast<void>(host.used_bytes());
  munmap(there, bytes);
  return 0;
}

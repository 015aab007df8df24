// SPDX-License-Identifier: Apache-2.0
//
// Frames of any bytes, decoded as a worker decodes its host's and a host its worker's. What is
// taken for values must lie in the arena, so every byte of it is read.
#include <streamgate/executor/workers/codec.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue_inl.h>
#include <fcntl.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <streamgate/executor/internal/descriptor.h>

namespace {

using namespace streamgate::executor;
using c10::IValue;

constexpr std::size_t kArena = std::size_t{1} << 18;

struct Pair {
  Channel host = Channel::create({.host_arena_bytes = kArena, .worker_arena_bytes = kArena});
  Channel worker = Channel::adopt(Descriptor(fcntl(host.descriptor(), F_DUPFD_CLOEXEC, 3)));
  int uses = 0;
};

volatile unsigned char sink;

void read(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.numel() == 0) return;
  std::int64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  const auto* const begin = static_cast<const unsigned char*>(tensor.data_ptr());
  const auto bytes = static_cast<std::size_t>(last + 1) * tensor.element_size();
  for (std::size_t i = 0; i < bytes; ++i) sink = begin[i];
}

void read(const IValue& value) {
  if (value.isTensor()) {
    read(value.toTensor());
  } else if (value.isList()) {
    for (const IValue& element : value.toListRef()) read(element);
  } else if (value.isTuple()) {
    for (const IValue& element : value.toTupleRef().elements()) read(element);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) read(entry.value());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::unique_ptr<Pair> pair;
  // A block that was given back and never lent ends a channel; one that was lent and never named
  // fills it.
  if (!pair || pair->host.end() != ChannelEnd::kOpen || ++pair->uses > 64) {
    pair = std::make_unique<Pair>();
  }
  const auto now = std::chrono::steady_clock::now();
  const std::optional<Block> frame = pair->host.allocate(size, now);
  if (!frame || size == 0) return 0;
  std::memcpy(frame->data(), data, size);
  const std::optional<BlockReference> lent = pair->host.lend(*frame);
  if (!lent) return 0;
  try {
    const std::vector<IValue> values = decode(pair->worker.map(*lent), pair->worker);
    for (const IValue& value : values) read(value);
    // What was read can be written.
    static_cast<void>(encode(values, pair->worker, now));
  } catch (const CodecError&) {
  } catch (const ChannelError&) {
  }
  return 0;
}

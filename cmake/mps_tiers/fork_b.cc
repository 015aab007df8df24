// SPDX-License-Identifier: Apache-2.0
//
// Compiles where libtorch is tier "fork B": a pool of slots that are acquired and released.
#include <ATen/mps/MPSStream.h>
#include <dispatch/dispatch.h>

template <typename Pool>
at::mps::MPSStream* acquired_stream() {
  if constexpr (requires { Pool::instance().acquireStream(); }) {
    at::mps::MPSStream* const stream = Pool::instance().acquireStream();
    Pool::instance().releaseStreamSlot(stream->unwrap().id());
    return stream;
  } else {
    at::mps::MPSStream* const stream = Pool::acquireStream();
    Pool::releaseStreamSlot(stream->unwrap().id());
    return stream;
  }
}

int main() {
  at::mps::setCurrentMPSStream(acquired_stream<at::mps::MPSStreamPool>());
  dispatch_sync_f(at::mps::getDefaultMPSStream()->queue(), nullptr, [](void*) {
    at::mps::MPSStream* const stream = at::mps::getDefaultMPSStream();
    stream->endKernelCoalescing();
    static_cast<void>(stream->commandBuffer());
    stream->synchronize(at::mps::SyncType::COMMIT);
  });
}

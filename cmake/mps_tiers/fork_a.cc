// SPDX-License-Identifier: Apache-2.0
//
// Compiles where libtorch is tier "fork A": a pool that says whether it is alive, streams by index.
#include <ATen/mps/MPSStream.h>
#include <dispatch/dispatch.h>

#include <cstddef>

template <typename Pool>
at::mps::MPSStream* stream_of(std::size_t index) {
  static_cast<void>(Pool::isPoolAlive());
  if constexpr (requires { Pool::instance().getStream(index); }) {
    return Pool::instance().getStream(index);
  } else {
    return Pool::getStream(index);
  }
}

int main() {
  at::mps::setCurrentMPSStream(stream_of<at::mps::MPSStreamPool>(1));
  dispatch_sync_f(at::mps::getDefaultMPSStream()->queue(), nullptr, [](void*) {
    at::mps::MPSStream* const stream = at::mps::getDefaultMPSStream();
    stream->endKernelCoalescing();
    static_cast<void>(stream->commandBuffer());
    stream->synchronize(at::mps::SyncType::COMMIT);
  });
}

// SPDX-License-Identifier: Apache-2.0
//
// Compiles where libtorch has upstream's pool of streams (2.14 and later). The forks' pools are
// asked for first, as they have these functions, too.
#include <ATen/mps/MPSStream.h>
#include <dispatch/dispatch.h>

int main() {
  at::mps::setCurrentMPSStream(at::mps::getStreamFromPool());
  static_cast<void>(at::mps::getCurrentMPSStream());
  at::mps::setCurrentMPSStream(nullptr);
  dispatch_sync_f(at::mps::getDefaultMPSStream()->queue(), nullptr, [](void*) {
    at::mps::MPSStream* const stream = at::mps::getDefaultMPSStream();
    stream->endKernelCoalescing();
    static_cast<void>(stream->commandBuffer());
    stream->synchronize(at::mps::SyncType::COMMIT);
  });
}

// SPDX-License-Identifier: Apache-2.0
//
// What all tiers of libtorch's ATen/mps/MPSStream.h have in common, over the emulated Metal. Every
// function dies with a text that begins "stand-in: " when it is used as libtorch's must not be: off
// the stream's queue, or before the device was initialised.
#pragma once

#include <dispatch/dispatch.h>

#include <cstddef>
#include <cstdint>

namespace streamgate::executor::metal {
class Stream;
}

namespace at::mps {

enum class SyncType { NONE, COMMIT, COMMIT_AND_WAIT, COMMIT_AND_CONTINUE, COMMIT_ADAPTIVE };

/// As much of c10::Stream as is used.
struct Unwrapped {
  std::int64_t identity;
  [[nodiscard]] std::int64_t id() const noexcept { return identity; }
};

class MPSStream {
 public:
  explicit MPSStream(streamgate::executor::metal::Stream& metal) noexcept : metal_(&metal) {}

  [[nodiscard]] dispatch_queue_t queue() const;
  void* commandBuffer();
  void* commandEncoder();
  void endKernelCoalescing();
  void synchronize(SyncType type);
  [[nodiscard]] Unwrapped unwrap() const;

  /// For the stand-ins only.
  [[nodiscard]] streamgate::executor::metal::Stream& metal() const noexcept { return *metal_; }

 private:
  streamgate::executor::metal::Stream* metal_;
};

MPSStream* getCurrentMPSStream();
MPSStream* getDefaultMPSStream();

}  // namespace at::mps

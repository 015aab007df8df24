// SPDX-License-Identifier: Apache-2.0
//
// Stands in for the header of the fork's patch 038: 32 streams in slots with one owner each; slot 0
// is that of the thread that initialised the device.
#pragma once

#include <stand_in_stream.h>

namespace at::mps {

MPSStream* getStreamFromPool();
void setCurrentMPSStream(MPSStream* stream);

class MPSStreamPool {
 public:
  static MPSStream* acquireStream();
  static void releaseStreamSlot(std::size_t slot);
};

}  // namespace at::mps

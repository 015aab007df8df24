// SPDX-License-Identifier: Apache-2.0
//
// Stands in for the header of the fork's cumulative patch: 32 streams by index; a thread that asks
// for its current stream without having one is given one in turn, for its life.
#pragma once

#include <stand_in_stream.h>

namespace at::mps {

MPSStream* getStreamFromPool();
void setCurrentMPSStream(MPSStream* stream);

class MPSStreamPool {
 public:
  static MPSStreamPool& instance();
  static bool isPoolAlive();
  MPSStream* getStream(std::size_t index);
  void releaseCurrentThreadSlot();
};

}  // namespace at::mps

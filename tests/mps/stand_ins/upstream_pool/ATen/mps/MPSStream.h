// SPDX-License-Identifier: Apache-2.0
//
// Stands in for libtorch's header from 2.14: a default stream and 32 in turn.
#pragma once

#include <stand_in_stream.h>

namespace at::mps {

MPSStream* getStreamFromPool();
/// Null: the default stream again.
void setCurrentMPSStream(MPSStream* stream);

}  // namespace at::mps

// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of libtorch's stand-in share: the device and its streams.
#pragma once

#include <ATen/mps/MPSStream.h>

#include <cstddef>
#include <vector>

#include "stand_in.h"

namespace streamgate::testing::stand_in {

#if STREAMGATE_MPS_TIER == 1
inline constexpr std::size_t kStreams = 1;
#elif STREAMGATE_MPS_TIER == 2
inline constexpr std::size_t kStreams = 33;
#else
inline constexpr std::size_t kStreams = 32;
#endif

/// Never destroyed, as libtorch's own.
struct World {
  explicit World(policies::FaultModel model);
  static World& instance();

  executor::metal::Device device;
  std::vector<at::mps::MPSStream> streams;  ///< The default one first.
};

void require_initialised();
/// The fields of Counts that are the pool's.
[[nodiscard]] Counts pool_counts();

}  // namespace streamgate::testing::stand_in

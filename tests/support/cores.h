// SPDX-License-Identifier: Apache-2.0
//
// The machine, as oneTBB counts it.
#pragma once

#include <oneapi/tbb/info.h>

#include <cstddef>

namespace streamgate::testing {

inline std::size_t cores() {
  return static_cast<std::size_t>(oneapi::tbb::info::default_concurrency());
}

}  // namespace streamgate::testing

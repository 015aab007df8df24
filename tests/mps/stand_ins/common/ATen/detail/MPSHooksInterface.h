// SPDX-License-Identifier: Apache-2.0
//
// Stands in for libtorch's header of the same name, with no more of it than the MPS backend uses.
#pragma once

#include <cstddef>

namespace at {

struct MPSHooksInterface {
  bool hasMPS() const;
#if STAND_IN_OLD_HOOKS
  void initMPS() const;
#else
  void init() const;
#endif
  std::size_t getCurrentAllocatedMemory() const;
  void* getDispatchQueue() const;
  void* getCommandBuffer() const;
  void commitStream() const;
};

namespace detail {
const MPSHooksInterface& getMPSHooks();
}  // namespace detail
}  // namespace at

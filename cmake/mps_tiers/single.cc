// SPDX-License-Identifier: Apache-2.0
//
// Compiles where libtorch can name the queue and the command buffer of its one MPS stream. By the
// hooks and not by ATen/mps/MPSStream.h, which plain C++ can read only since 2.7.
#include <ATen/detail/MPSHooksInterface.h>
#include <dispatch/dispatch.h>

int main() {
  const auto& hooks = at::detail::getMPSHooks();
  dispatch_sync_f(static_cast<dispatch_queue_t>(hooks.getDispatchQueue()), nullptr, [](void*) {
    static_cast<void>(at::detail::getMPSHooks().getCommandBuffer());
    at::detail::getMPSHooks().commitStream();
  });
}

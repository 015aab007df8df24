// SPDX-License-Identifier: Apache-2.0
//
// Tells the processor that this thread spins.
#pragma once

namespace streamgate::executor {

inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// Dying in the ways of Metal.
#include <streamgate/executor/backends/emulator/process.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

namespace streamgate::executor::metal {

void fail_assertion(std::string_view where, std::string_view text) noexcept {
  std::fprintf(stderr, "-[%.*s]: failed assertion `%.*s'\n", static_cast<int>(where.size()),
               where.data(), static_cast<int>(text.size()), text.data());
  std::abort();
}

void fail_as_seen(std::uint64_t number) noexcept {
  switch (number % 3) {
    case 0:
      fail_assertion("_MTLCommandBuffer addScheduledHandler:",
                     "Scheduled handler provided after commit call");
    case 1:
      fail_assertion("_MTLCommandBuffer commit", "commit command buffer with uncommitted encoder");
    default:
      fail_assertion("IOGPUMetalCommandBuffer validate",
                     "_status < MTLCommandBufferStatusCommitted");
  }
}

void fail_by_bad_access() noexcept {
  // In the first page, which is never mapped; not null, which the compiler would know.
  volatile std::uintptr_t address = 64;
  static_cast<void>(*reinterpret_cast<volatile int*>(address));
  std::abort();  // Not reached: a compiler wants to see that this function does not return.
}

void hang() noexcept {
  for (;;) pause();
}

void damage(std::span<std::byte> output) noexcept {
  constexpr std::size_t kWord = sizeof(float);
  constexpr std::size_t kEvery = 5;
  for (std::size_t at = 0; at + kWord <= output.size(); at += kEvery * kWord) {
    float value;
    std::memcpy(&value, &output[at], kWord);
    value = std::isfinite(value) ? value + std::abs(value) + 1 : 0;
    std::memcpy(&output[at], &value, kWord);
  }
  if (output.size() < kWord) {
    for (std::byte& byte : output) byte = ~byte;
  }
}

bool on_main_thread() noexcept {
#if defined(__linux__)
  return getpid() == syscall(SYS_gettid);
#elif defined(__APPLE__)
  return pthread_main_np() != 0;
#else
  return true;
#endif
}

}  // namespace streamgate::executor::metal

// SPDX-License-Identifier: Apache-2.0
#include "process_threads.h"

#include <thread>

#if defined(__APPLE__)
#include <mach/mach.h>
#else
#include <cstdio>
#include <memory>
#endif

namespace digits {

std::size_t process_threads() noexcept {
#if defined(__APPLE__)
  thread_act_array_t threads = nullptr;
  mach_msg_type_number_t count = 0;
  if (task_threads(mach_task_self(), &threads, &count) != KERN_SUCCESS) return 0;
  for (mach_msg_type_number_t i = 0; i < count; ++i) {
    mach_port_deallocate(mach_task_self(), threads[i]);
  }
  vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(threads),
                count * sizeof(*threads));
  return count;
#else
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> status(std::fopen("/proc/self/status", "r"),
                                                               &std::fclose);
  if (status == nullptr) return 0;
  char line[256];
  std::size_t count = 0;
  while (std::fgets(line, sizeof line, status.get()) != nullptr) {
    if (std::sscanf(line, "Threads: %zu", &count) == 1) return count;
  }
  return 0;
#endif
}

bool wait_for_threads_to_end(std::size_t down_to, std::chrono::milliseconds at_most) {
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  // Nobody can be told of the end of a thread that a library has detached: so this looks again.
  while (process_threads() > down_to) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace digits

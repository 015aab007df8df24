// SPDX-License-Identifier: Apache-2.0
//
// Thread names on Linux and macOS.
#include <streamgate/executor/internal/thread_name.h>

#include <pthread.h>

namespace streamgate::executor {

void set_thread_name(const std::string& name) noexcept {
#if defined(__APPLE__)
  pthread_setname_np(name.c_str());
#else
  constexpr std::size_t kLongest = 15;  // pthread_setname_np(3): longer names are an error.
  char cut[kLongest + 1] = {};
  name.copy(cut, kLongest);
  pthread_setname_np(pthread_self(), cut);
#endif
}

std::string thread_name() {
  char name[64] = {};
  if (pthread_getname_np(pthread_self(), name, sizeof name) != 0) return {};
  return name;
}

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
#include "interrupt.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace digits {
namespace {

// A pipe, since a signal's handler may do little more than write to one.
std::array<int, 2> interrupts = {-1, -1};

extern "C" void on_interrupt(int) {
  const int error = errno;
  const char byte = 0;
  (void)!write(interrupts[1], &byte, 1);
  errno = error;
}

}  // namespace

void wait_for_interrupt() {
  if (pipe(interrupts.data()) != 0) return;
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  char byte = 0;
  while (read(interrupts[0], &byte, 1) < 0 && errno == EINTR) {
  }
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  close(interrupts[0]);
  close(interrupts[1]);
}

}  // namespace digits

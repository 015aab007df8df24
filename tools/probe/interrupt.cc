// SPDX-License-Identifier: Apache-2.0
#include "probe/interrupt.h"

#include <signal.h>

#include <initializer_list>

namespace streamgate::tools {
namespace {

std::atomic<bool> interrupt_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal's handler stores to it");

extern "C" void on_interrupt(int) { interrupt_requested = true; }

}  // namespace

Interrupt::Interrupt() {
  interrupt_requested = false;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on_interrupt;  // Without SA_RESTART: a wait ends at once.
    sigaction(signal, &action, nullptr);
  }
}

const std::atomic<bool>& Interrupt::requested() const noexcept { return interrupt_requested; }

}  // namespace streamgate::tools

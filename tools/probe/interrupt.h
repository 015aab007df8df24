// SPDX-License-Identifier: Apache-2.0
//
// Turns Ctrl-C, a request to terminate and a hang-up into a flag that the probe looks at.
#pragma once

#include <atomic>

namespace streamgate::tools {

/// While one lives, SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process; one that
/// was ignored stays so, as for a job in the background. At most one at a time. The handler stays
/// afterwards: what comes late finds a command that is writing its results, and lets it.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  [[nodiscard]] const std::atomic<bool>& requested() const noexcept;
};

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// Waiting for the user to end the program.
#pragma once

namespace digits {

/// Blocks until SIGINT (Ctrl-C) or SIGTERM, which end the process by themselves before this is
/// called and after it has returned. REQUIRES: called by one thread at a time.
void wait_for_interrupt();

}  // namespace digits

// SPDX-License-Identifier: Apache-2.0
//
// Whether worker processes can be had on this machine, and how much there is for them.
#pragma once

#include "doctor/report.h"

namespace streamgate::tools {

/// Tries what workers stand on: a channel of shared memory, and a descriptor of a process. Nothing
/// is started.
[[nodiscard]] WorkerFacts find_workers();

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// Whether libtorch works at all: one small operation, run, checked and timed.
#pragma once

#include "doctor/report.h"

namespace streamgate::tools {

/// What run_operation runs, for people and for JSON.
inline constexpr const char* kOperation = "aten::linear";
inline constexpr const char* kOperationShape = "32x256x256";

/// Runs a linear on the CPU with one intra-op thread, for some 0.1 s, on the calling thread.
[[nodiscard]] OperationFacts run_operation();

}  // namespace streamgate::tools

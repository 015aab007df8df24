// SPDX-License-Identifier: Apache-2.0
//
// What a worker with libtorch does with calls: reads the request, runs the operation, writes the
// result. The loop around it is worker_loop.h's.
#pragma once

#include <streamgate/executor/workers/worker_loop.h>

#include <memory>

namespace streamgate::executor {

/// `configuration`, for prepare, is what modules_text makes. Progress is counted with each operator
/// that libtorch runs; a cancelled call is left before it begins, and between modules' operators it
/// is not: libtorch has no place to leave from.
[[nodiscard]] std::unique_ptr<CallRunner> make_torch_runner();

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// Which program is started as a worker, and how a program becomes one. No path is searched: what
// runs with a service's data is what its operator named, or the service itself.
#pragma once

#include <streamgate/executor/workers/worker_loop.h>

#include <optional>
#include <string>

namespace streamgate::executor {

/// The program for `overflow.worker_command`: that absolute path, if it can be executed. Empty:
/// this program itself, as it is running, if it called serve_as_worker. Throws
/// std::invalid_argument, with what to do, for a path that is not absolute or cannot be executed,
/// and where there is neither.
[[nodiscard]] std::string worker_program(const std::string& worker_command);

/// What the arguments of a process name, if a supervisor started it as a worker.
[[nodiscard]] std::optional<WorkerLinks> worker_links(int argc, const char* const* argv);

/// serve_as_worker (serve.h) with a runner of one's own.
[[nodiscard]] std::optional<int> serve_as_worker(int argc, const char* const* argv,
                                                 CallRunner& runner);

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// How a program becomes its own worker: the one line that a service adds to its main. What a worker
// does is in workers/.
#pragma once

#include <optional>

namespace streamgate::executor {

/// To be called first in main by a program whose config leaves `overflow.worker_command` empty. In
/// a process that an executor started as a worker it serves until its host ends, and returns the
/// exit code; in any other it notes that this program can serve, and returns nothing.
///
/// Thread-safety: for main's thread, before there are others. Ownership: of nothing. Blocking: as
/// long as the worker lives. Failure: a worker that cannot serve says why on standard error, which
/// its host repeats. A build without libtorch, or for another system than Linux, has no workers:
/// nothing is returned there.
///
///     int main(int argc, char** argv) {
///       if (const auto code = streamgate::serve_as_worker(argc, argv)) return *code;
///       return run_service(argc, argv);
///     }
///
/// Operators that the program registers for itself are there in its workers as well, which those of
/// `streamgate worker` do not have.
[[nodiscard]] std::optional<int> serve_as_worker(int argc, const char* const* argv);

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The child's side of the probe: runs the stages it is told, at exactly their widths, and writes
// down what it does. It does not go through the executor, whose gates are what is to be measured
// for, and it judges nothing: it may die at any time.
#pragma once

#include <streamgate/executor/probe/stage.h>
#include <streamgate/executor/probe/workload.h>

#include <optional>
#include <vector>

namespace streamgate::executor::probe {

/// File descriptors that the parent left open in the child; none when a person runs a trial.
struct TrialLinks {
  std::optional<int> board{};  ///< Shared memory of the size of a Board.
  /// The read end of a pipe: at its end the parent is gone. A byte in it lets a held trial go on.
  std::optional<int> life{};
  bool held = false;  ///< Whether it waits for that byte before its first stage; needs `life`.
};

/// The exit codes of a trial that did not die.
enum TrialExit : int { kTrialFinished = 0, kTrialCannotRun = 70, kTrialCorrupt = 71 };

/// Runs the stages in the calling process and ends that process: by _exit with a TrialExit, without
/// static destructors, which must not call a device; or by whatever the device does to it. Without
/// a board it says on standard error what came out.
///
/// Call it on the main thread of a process that does nothing else.
[[noreturn]] void run_trial(const WorkloadOptions& options, const std::vector<Stage>& stages,
                            const TrialLinks& links);

}  // namespace streamgate::executor::probe

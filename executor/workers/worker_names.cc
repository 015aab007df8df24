// SPDX-License-Identifier: Apache-2.0
//
// The words for workers' states and ends in metrics, logs and reports.
#include <streamgate/executor/snapshot.h>

namespace streamgate::executor {

std::string_view to_string(WorkerState state) noexcept {
  switch (state) {
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kIdle:
      return "idle";
    case WorkerState::kBusy:
      return "busy";
    case WorkerState::kEnding:
      return "ending";
  }
  return "unknown";
}

std::string_view to_string(WorkerExit exit) noexcept {
  switch (exit) {
    case WorkerExit::kStopped:
      return "stopped";
    case WorkerExit::kIdle:
      return "idle";
    case WorkerExit::kRecycled:
      return "recycled";
    case WorkerExit::kExited:
      return "exited";
    case WorkerExit::kSignalled:
      return "signalled";
    case WorkerExit::kHung:
      return "hung";
    case WorkerExit::kCancelled:
      return "cancelled";
    case WorkerExit::kCorrupt:
      return "corrupt";
    case WorkerExit::kStartFailed:
      return "start_failed";
  }
  return "unknown";
}

}  // namespace streamgate::executor

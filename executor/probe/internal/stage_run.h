// SPDX-License-Identifier: Apache-2.0
//
// One stage of a trial: its threads, the barrier that releases them, and their stamps.
#pragma once

#include <streamgate/executor/probe/internal/board.h>
#include <streamgate/executor/probe/stage.h>
#include <streamgate/executor/probe/workload.h>

#include <cstddef>

namespace streamgate::executor::probe {

/// What ends the process when it cannot go on; on the thread that found out. Does not return.
struct TrialEnd {
  void (*corrupt)(Board& board) = nullptr;
  void (*cannot_run)(Board& board, std::string_view why) = nullptr;
};

/// Runs stage `index` of a trial, on as many streams from `first_stream` on (and from the first
/// again after the last), and returns when its threads have ended. REQUIRES: the classes of the
/// stage are prepared; there are as many streams as threads.
void run_stage(Workload& workload, const Stage& stage, std::size_t index, StreamIndex first_stream,
               Board& board, const TrialEnd& end);

/// Makes the process note in `board` which thread a fatal signal struck; it dies of it all the
/// same.
void note_fatal_signals(Board& board);

}  // namespace streamgate::executor::probe

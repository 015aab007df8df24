// SPDX-License-Identifier: Apache-2.0
//
// A child process of the probe that ends in the way it is told: `victim WAY ARGUMENTS-OF-THE-PROBE`.
// It runs trials of a device of its own, which fails in the trial's first iterations.
#include <streamgate/executor/probe/internal/shared_memory.h>
#include <streamgate/executor/probe/internal/board.h>

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

using streamgate::executor::probe::Board;
using streamgate::executor::probe::TrialState;

constexpr int kBoardDescriptor = 3;

Board& board() {
  return *static_cast<Board*>(
      streamgate::executor::probe::map_shared(kBoardDescriptor, sizeof(Board)));
}

/// As a trial has it on its way.
void go_as_far_as(TrialState state, std::uint64_t hang_after_ms = 60'000) {
  board().provenance[2].assign("a victim");
  board().max_streams = 4;
  board().classes = 5;
  board().hang_after_ms = hang_after_ms;
  board().operations[2].assign("aten::victim");
  board().threads[1].begun = 17;
  board().threads[1].checked = 16;
  board().stages[0].operations = 100;
  board().state = state;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view way = argc > 1 ? argv[1] : "";
  if (way == "finish") {
    go_as_far_as(TrialState::kFinished);
    return 0;
  }
  if (way == "die-at-start") raise(SIGSEGV);
  if (way == "exit-at-start") {
    std::fputs("cannot open the device\n", stderr);
    return 9;
  }
  if (way == "hang-at-start") pause();
  go_as_far_as(TrialState::kRunning, way == "hang" ? 300 : 60'000);
  if (way == "struck") {
    board().struck = 2;
    raise(SIGBUS);
  }
  if (way == "hang") pause();
  if (way == "killed") raise(SIGKILL);
  if (way == "terminated") raise(SIGTERM);
  if (way == "exit") return 9;
  if (way == "throw") throw std::runtime_error("MPS backend said no");
  if (way == "talk") {
    auto& progress = board().threads[1].begun;
    for (int line = 0; line < 200'000; ++line) {
      std::fprintf(stderr, "line %d\n", line);
      progress.fetch_add(1);  // It is no hang, however long that takes.
    }
    abort();
  }
  if (way == "lie") {
    // Nothing that it says of itself can be right.
    board().stage = 4'000'000'000U;
    board().struck = 4'000'000'000U;
    board().max_streams = 4'000'000'000U;
    board().classes = 0xffffffffU;
    for (auto& text : board().provenance) text.bytes.fill('x');
    for (auto& text : board().operations) text.bytes.fill('x');
    abort();
  }
  if (way == "cannot") {
    board().message.assign("there is no device");
    board().state = TrialState::kCannotRun;
    return 70;
  }
  if (way == "corrupt") {
    board().struck = 2;
    board().state = TrialState::kCorrupt;
    return 71;
  }
  return 1;
}

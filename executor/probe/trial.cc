// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/trial.h>

#include <streamgate/executor/probe/internal/shared_memory.h>
#include <streamgate/executor/probe/internal/stage_run.h>

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <set>
#include <string>
#include <thread>

namespace streamgate::executor::probe {
namespace {

using policies::index_of;
using policies::OpClass;

/// Where the figures go when a person runs a trial.
Board own_board;

[[noreturn]] void leave(int code) {
  std::fflush(nullptr);
  _exit(code);
}

[[noreturn]] void cannot_run(Board& board, const std::string& why) {
  board.message.assign(why);
  board.state = TrialState::kCannotRun;
  std::fprintf(stderr, "probe-trial: %s\n", why.c_str());
  leave(kTrialCannotRun);
}

constexpr TrialEnd kEnd = {
    .corrupt =
        [](Board& board) {
          board.state = TrialState::kCorrupt;
          std::fprintf(stderr, "probe-trial: %u wrong result(s) on thread %u\n", board.wrong.load(),
                       board.struck.load());
          leave(kTrialCorrupt);
        },
    .cannot_run = [](Board& board, std::string_view why) { cannot_run(board, std::string(why)); }};

std::atomic<bool> released{false};

/// The parent holds the other end and writes a byte at most: when this ends, it is gone, whatever
/// it died of. (Linux could send a signal at the parent's death; this works wherever there are
/// pipes.)
void end_with_parent(int life) {
  std::thread([life] {
    char byte = 0;
    for (;;) {
      const ssize_t bytes = read(life, &byte, 1);
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes <= 0) _exit(kTrialCannotRun);
      released.store(true);
      released.notify_all();
    }
  }).detach();
}

void describe(const Workload& workload, Board& board) {
  const Provenance here = workload.provenance();
  const std::array<const std::string*, 5> texts = {&here.backend, &here.libtorch, &here.device,
                                                   &here.driver, &here.os};
  for (std::size_t i = 0; i < texts.size(); ++i) board.provenance[i].assign(*texts[i]);
  for (const OpClass op_class : workload.classes()) {
    board.classes |= 1U << index_of(op_class);
    if (workload.is_called(op_class)) board.called |= 1U << index_of(op_class);
    board.operations[index_of(op_class)].assign(workload.operation(op_class));
  }
  board.max_streams = static_cast<std::uint32_t>(workload.max_streams());
  board.hang_after_ms = static_cast<std::uint64_t>(workload.hang_after().count());
}

void say(const Stage& stage, const StageFigures& figures) {
  std::fprintf(stderr, "probe-trial: %s: %llu operations, all results right\n",
               to_string(stage).c_str(),
               static_cast<unsigned long long>(figures.operations.load()));
}

void run(const WorkloadOptions& options, const std::vector<Stage>& stages, Board& board,
         const TrialLinks& links) {
  const std::unique_ptr<Workload> workload = make_workload(options);
  workload->initialise();
  describe(*workload, board);
  board.state = TrialState::kReady;
  std::set<OpClass> prepared;
  for (const Stage& stage : stages) {
    if (threads_of(stage) > workload->max_streams()) {
      throw std::runtime_error(to_string(stage.parties) +
                               " needs a stream for each thread; here are " +
                               std::to_string(workload->max_streams()));
    }
    for (const Party& party : stage.parties) {
      if (prepared.insert(party.op_class).second) workload->prepare(party.op_class);
    }
  }
  if (links.held) {
    board.state = TrialState::kHeld;
    released.wait(false);  // Or the parent ends, and this process with it.
  }
  board.state = TrialState::kRunning;
  StreamIndex next_stream =
      0;  // Each stage on others, as long as there are any that were not used.
  for (std::size_t i = 0; i < stages.size(); ++i) {
    run_stage(*workload, stages[i], i, next_stream, board, kEnd);
    next_stream = (next_stream + threads_of(stages[i])) % workload->max_streams();
    if (!links.board) say(stages[i], board.stages[i]);
  }
  board.state = TrialState::kFinished;
  leave(kTrialFinished);
}

}  // namespace

void run_trial(const WorkloadOptions& options, const std::vector<Stage>& stages,
               const TrialLinks& links) {
  // It is expected to crash: a core file each time would fill the disk and take the time.
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  Board* board = &own_board;
  try {
    if (links.board) board = static_cast<Board*>(map_shared(*links.board, sizeof(Board)));
    if (links.life) end_with_parent(*links.life);
    note_fatal_signals(*board);
    if (links.held && !links.life) throw std::invalid_argument("a held trial needs a --life-fd");
    run(options, stages, *board, links);
  } catch (const std::exception& error) {
    cannot_run(*board, error.what());
  }
  leave(kTrialCannotRun);  // Not reached: run ends the process.
}

}  // namespace streamgate::executor::probe

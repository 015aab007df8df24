// SPDX-License-Identifier: Apache-2.0
//
// A worker without libtorch whose requests say what it should do or suffer: the first letter is
// the deed, the rest its text. It is what pools are tested with.
#pragma once

#include <streamgate/executor/workers/worker_loop.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::testing {

/// Deeds, as requests begin. All others answer with their own text.
enum Deed : char {
  kEcho = 'e',            ///< Answers with the text.
  kProcessId = 'i',       ///< Answers with the process's id.
  kThrow = 't',           ///< Throws the text.
  kRaise = 'r',           ///< Ends with this signal (a number), having said "last words" on stderr.
  kExit = 'x',            ///< Ends with this exit code.
  kHang = 'h',            ///< Notes in the file TEXT, if any, and never ends.
  kHangDeaf = 'H',        ///< Nor when asked with TERM.
  kWaitForCancel = 'c',   ///< Leaves when cancelled.
  kMove = 'm',            ///< Shows progress until it is cancelled.
  kNoteAndEcho = 'n',     ///< Appends a line to the file TEXT, for counting, and answers.
  kNoteAndDie = 'd',      ///< The same, and dies.
  kGrow = 'g',            ///< Takes this many MiB of memory and keeps them.
  kRunOutOfMemory = 'l',  ///< Takes memory until its process may have no more, and throws that.
  kSpoilRing = 's',       ///< Writes a count into the ring that cannot be.
  kAnswerOther = 'o',     ///< Answers a call that it was not given.
  kAnswerTwice = '2',     ///< Answers, and once more.
  kDieWhileAnswering = 'q',  ///< Dies with half of the answer written.
  kBadBlock = 'b',           ///< Answers with a block outside its arena.
  kFirstRun = 'f',           ///< Answers, and says that it was a first run.
  kBadDetail = 'D',          ///< Answers with a detail that no answer has.
};

/// Of a line that a deed appends to a file.
inline constexpr std::size_t kNoteBytes = 6;

/// Configurations, as SupervisorOptions::configuration: "unfit", "die" and "stall" do that in
/// prepare; "slow" takes up to 15 ms for it; "first-dies:FILE" dies while FILE does not exist, and
/// makes it.
class TestRunner final : public executor::CallRunner {
 public:
  std::string identity() override;
  void prepare(std::string_view configuration, std::size_t intra_op_threads) override;
  executor::BlockReference run(executor::RunningCall& call) override;

 private:
  std::size_t intra_op_threads_ = 0;
  std::vector<std::string> kept_;
};

}  // namespace streamgate::testing

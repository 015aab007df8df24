// SPDX-License-Identifier: Apache-2.0
#include "probe/progress.h"

#include <algorithm>
#include <iostream>

#include "probe/render.h"

namespace streamgate::tools {

namespace probe = executor::probe;

void ProbeProgress::on_trial(const std::vector<probe::Stage>& stages,
                             std::chrono::nanoseconds elapsed) {
  elapsed_ = elapsed;
  ++trial_;
  if (stages.empty()) return show("looking at the device");
  std::string what = "trying " + to_string(stages.front().parties);
  // Repetitions say nothing new.
  const bool more = std::any_of(stages.begin(), stages.end(), [&](const probe::Stage& stage) {
    return stage.parties != stages.front().parties;
  });
  if (more) what += " to " + to_string(stages.back().parties);
  show(what);
}

void ProbeProgress::on_failure(const probe::Failure& failure) {
  clear();
  std::cerr << "probe: " << failure_line(failure) << '\n';
}

void ProbeProgress::on_progress(const probe::Stage& stage, std::uint64_t operations) {
  if (output_ != Output::kTerminal) return;
  show("trying " + to_string(stage.parties) + ", " + std::to_string(operations) + " operations");
}

void ProbeProgress::show(const std::string& what) {
  constexpr int kCells = 20;
  const double part = std::min(1.0, std::chrono::duration<double>(elapsed_) / budget_);
  if (output_ == Output::kTerminal) {
    const std::string done(static_cast<std::size_t>(part * kCells), '#');
    std::cerr << "\r\x1b[K[" << done << std::string(kCells - done.size(), ' ') << "] " << what
              << std::flush;
    shown_ = true;
    return;
  }
  std::cerr << "probe: " << std::chrono::duration_cast<std::chrono::seconds>(elapsed_).count()
            << " s, process " << trial_ << ": " << what << '\n';
}

void ProbeProgress::clear() {
  if (shown_) std::cerr << "\r\x1b[K" << std::flush;
  shown_ = false;
}

}  // namespace streamgate::tools

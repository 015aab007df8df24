// SPDX-License-Identifier: Apache-2.0
#include "progress_bar.h"

#include "table.h"

#include <ostream>
#include <sstream>

namespace digits {

void ProgressBar::show(const TrainingProgress& progress) {
  constexpr std::size_t kWidth = 30;
  const bool last = progress.batch == progress.batches;
  std::ostringstream line;
  line << "  epoch " << progress.epoch << '/' << progress.epochs << "  ";
  if (output_ == Output::kTerminal) {
    const std::size_t done = kWidth * progress.batch / progress.batches;
    line << '[' << std::string(done, '#') << std::string(kWidth - done, '.') << "]  "
         << progress.batch << '/' << progress.batches << "  ";
  }
  line << "loss " << fixed_point(progress.loss, 4);
  if (output_ == Output::kTerminal) show(line.str());
  if (!last) return;
  if (output_ == Output::kLog) out_ << line.str();
  out_ << std::endl;
}

void ProgressBar::show(const std::string& line) {
  // Carriage return, the line, and erase what an older one has left to its right.
  if (output_ == Output::kTerminal) out_ << '\r' << line << "\x1b[K" << std::flush;
}

void ProgressBar::clear() { show(""); }

}  // namespace digits

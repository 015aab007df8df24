// SPDX-License-Identifier: Apache-2.0
//
// Shows how far the program is: a line that changes on a terminal, or else, in a log, a line for
// each thing that has been done.
#pragma once

#include "digit_model.h"

#include <cstddef>
#include <iosfwd>
#include <string>

namespace digits {

enum class Output : std::uint8_t { kTerminal, kLog };

/// Externally synchronised; borrows the stream.
class ProgressBar {
 public:
  ProgressBar(std::ostream& out, Output output) : out_(out), output_(output) {}

  /// A bar for each epoch, with the loss.
  void show(const TrainingProgress& progress);
  /// A line to be replaced by the next, or by nothing; not shown in a log.
  void show(const std::string& line);
  void clear();

 private:
  std::ostream& out_;
  Output output_;
};

}  // namespace digits

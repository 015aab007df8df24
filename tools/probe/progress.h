// SPDX-License-Identifier: Apache-2.0
//
// Says on standard error what the probe is trying: a line that changes on a terminal, else a line
// for each trial.
#pragma once

#include <streamgate/executor/probe/probe.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace streamgate::tools {

/// Confined to the thread that probes.
class ProbeProgress final : public executor::probe::ProbeObserver {
 public:
  enum class Output : std::uint8_t { kTerminal, kLog };

  ProbeProgress(Output output, std::chrono::milliseconds budget)
      : output_(output), budget_(budget) {}
  ~ProbeProgress() override { clear(); }
  ProbeProgress(const ProbeProgress&) = delete;
  ProbeProgress& operator=(const ProbeProgress&) = delete;

  void on_trial(const std::vector<executor::probe::Stage>& stages,
                std::chrono::nanoseconds elapsed) override;
  void on_failure(const executor::probe::Failure& failure) override;
  /// A few times a second, for the terminal only.
  void on_progress(const executor::probe::Stage& stage, std::uint64_t operations);
  void clear();

 private:
  void show(const std::string& what);

  Output output_;
  std::chrono::milliseconds budget_;
  std::chrono::nanoseconds elapsed_{0};
  std::size_t trial_ = 0;
  bool shown_ = false;
};

}  // namespace streamgate::tools

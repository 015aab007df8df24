// SPDX-License-Identifier: Apache-2.0
//
// Runs a scenario of this very test program in a process of its own, for what a test must see die,
// or end.
#pragma once

#include <string>

namespace streamgate::testing {

struct ChildResult {
  int exit_code = -1;  ///< -1: it did not exit.
  int signal = 0;      ///< That ended it; SIGKILL when it took longer than the guard.
  std::string err{};
};

/// By posix_spawn. The scenario's name is all that the child is given.
[[nodiscard]] ChildResult run_scenario_in_child(const std::string& name);

/// What such a child does; in scenarios.cc.
[[nodiscard]] int run_scenario(const std::string& name);

}  // namespace streamgate::testing

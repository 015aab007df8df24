// SPDX-License-Identifier: Apache-2.0
//
// Runs a scenario of this very test program in a process of its own, for what a test must see die,
// or end.
#pragma once

#include <string>

#include "../support/child_process.h"
#include "../support/event.h"

namespace streamgate::testing {

/// What such a child does; in scenarios.cc.
[[nodiscard]] int run_scenario(const std::string& name);

/// The scenario's name is all that the child is given.
[[nodiscard]] inline ChildResult run_scenario_in_child(const std::string& name) {
  return run_child({"/proc/self/exe", "--scenario", name}, kGuard);
}

}  // namespace streamgate::testing

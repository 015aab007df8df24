// SPDX-License-Identifier: Apache-2.0
//
// The sub-commands of `streamgate`. A new one is a file that defines its add_ function, declared
// here, and a line in commands.cc.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace streamgate::tools {

/// What every sub-command ends with. A usage error is kUnusable, too.
enum ExitCode : int { kFine = 0, kWarnings = 1, kUnusable = 2 };

/// What the command line asked for, to be done once all of it was parsed. Returns the exit code;
/// may throw what main reports.
using Action = std::function<int()>;

/// Adds one sub-command with its options. Parsing them sets `chosen`, which must outlive the app.
void add_bench(CLI::App& app, Action& chosen);
void add_doctor(CLI::App& app, Action& chosen);
void add_probe(CLI::App& app, Action& chosen);
void add_probe_trial(CLI::App& app, Action& chosen);
void add_simulate(CLI::App& app, Action& chosen);
/// Only in builds with metrics, whose HTTP library it asks with.
void add_top(CLI::App& app, Action& chosen);
/// Linux only, as workers are.
void add_worker(CLI::App& app, Action& chosen);

/// Adds every sub-command.
void add_commands(CLI::App& app, Action& chosen);

}  // namespace streamgate::tools

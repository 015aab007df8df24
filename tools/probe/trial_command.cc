// SPDX-License-Identifier: Apache-2.0
//
// `streamgate probe-trial`: what the probe's child processes run. It is not in --help: people have
// it to run again, alone, a trial in which something died.
#include <streamgate/executor/probe/trial.h>

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "commands.h"

namespace streamgate::tools {
namespace {

namespace probe = executor::probe;

struct TrialOptions {
  probe::WorkloadOptions workload;
  std::vector<std::string> stages;
  probe::TrialLinks links;
};

int run_trial(const TrialOptions& options) {
  std::vector<probe::Stage> stages;
  for (const std::string& text : options.stages) stages.push_back(probe::parse_stage(text));
  if (stages.size() > probe::kMaxStages) throw std::invalid_argument("too many stages");
  probe::run_trial(options.workload, stages, options.links);
}

}  // namespace

void add_probe_trial(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "probe-trial", "Run one trial of the probe in this process, which may die");
  command->group("");  // Not listed.
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto options = std::make_shared<TrialOptions>();
  command->add_option("--backend", options->workload.backend, "The backend")->required();
  command->add_option("--fault-model", options->workload.fault_model, "Of the emulator");
  command->add_option("--capture-mode", options->workload.capture_mode, "Of cuda");
  command
      ->add_option("--stage", options->stages,
                   "CLASS:WIDTH[+CLASS:WIDTH]/hammer|pace[/operations=N][/at-most-ms=N][/batch=N]"
                   "[/warm-up=N]; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--board-fd", options->links.board, "Shared memory of the parent");
  command->add_option("--life-fd", options->links.life, "Pipe that ends with the parent");
  command->add_flag("--held", options->links.held,
                    "Wait for a byte in that pipe before the stages");
  command->footer("Exit code: 0 all results right, 70 it cannot run, 71 a wrong result.");
  command->callback([options, &chosen] { chosen = [options] { return run_trial(*options); }; });
}

}  // namespace streamgate::tools

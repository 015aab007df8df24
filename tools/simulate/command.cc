// SPDX-License-Identifier: Apache-2.0
//
// `streamgate simulate`: plays a scenario with one limit policy or with all of them. Options, exit
// codes and what is written where; the simulating is executor/simulation's.
#include <streamgate/policies/internal/whole_file.h>

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "commands.h"
#include "simulate/chart.h"
#include "simulate/played.h"
#include "simulate/render.h"
#include "simulate/scenario_file.h"

namespace streamgate::tools {
namespace {

struct Options {
  std::filesystem::path scenario;
  std::string policy;
  std::uint64_t seed = 1;
  std::optional<std::filesystem::path> svg;
  bool json = false;
};

int run(const Options& options) {
  const executor::simulation::Scenario scenario = load_scenario(options.scenario);
  const std::vector<Played> played = play_policies(scenario, options.policy, options.seed);
  if (options.svg) {
    const std::string wrong =
        policies::internal::write_whole(*options.svg, render_simulation_svg(played));
    if (!wrong.empty()) throw std::runtime_error(wrong);
  }
  if (!options.json) {
    std::cout << render_simulation_text(played);
  } else if (options.policy == "all") {
    std::cout << render_simulations_json(played);
  } else {
    std::cout << render_simulation_json(played.front());
  }
  return kFine;
}

/// CLI11 takes -1 for the largest number there is.
std::string not_negative(const std::string& text) {
  if (!text.starts_with('-')) return {};
  return "'" + text + "' is not a whole number from 0 to 2^64 - 1";
}

std::string known_policies() {
  std::string known;
  for (const std::string_view name : policies::kLimitPolicyNames) known += std::string(name) + ", ";
  return known + "or all";
}

}  // namespace

void add_simulate(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "simulate", "Play a load against a plant on simulated time, to see what a limit policy does");
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto options = std::make_shared<Options>();
  command->add_option("--scenario", options->scenario, "The load, the plant and their bounds (JSON)")
      ->type_name("FILE")
      ->required();
  command->add_option("--policy", options->policy, "The limit policy: " + known_policies())
      ->type_name("NAME")
      ->required();
  command->add_option("--seed", options->seed, "Of the random numbers; the same, the same run")
      ->type_name("N")
      ->check(not_negative)
      ->capture_default_str();
  command->add_flag("--json", options->json, "JSON on stdout instead of the table");
  command->add_option("--svg", options->svg, "Write a chart of each run's course here")
      ->type_name("FILE");
  command->footer(
      "The gate and the admission queue are the real ones; load, plant and time are not, so it\n"
      "says nothing about this machine. Exit code: 0 played, also when the plant died; 2 a wrong\n"
      "command line or scenario. The scenario's keys and the JSON's fields: docs/simulate.md.");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace streamgate::tools

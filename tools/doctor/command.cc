// SPDX-License-Identifier: Apache-2.0
//
// `streamgate doctor`: what this process runs on, and what is wrong with it.
#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "commands.h"
#include "doctor/diagnose.h"
#include "doctor/examine.h"
#include "doctor/render.h"

namespace streamgate::tools {
namespace {

struct Options {
  bool json = false;
  std::optional<std::string> config_file;
};

int run(const Options& options) {
  const Report report = examine(options.config_file);
  const std::vector<Finding> findings = diagnose(report);
  std::cout << (options.json ? render_json(report, findings) : render_text(report, findings));
  return exit_code_of(findings);
}

}  // namespace

void add_doctor(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Tell which libtorch, BLAS, device and config are in use, and what is wrong");
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto options = std::make_shared<Options>();
  command->add_flag("--json", options->json, "One JSON object on stdout instead of the table");
  command->add_option("--config", options->config_file, "The config file (TOML) to check and use")
      ->type_name("FILE");
  command->footer(
      "Runs a small operation. What it says holds for programs with the same environment and the\n"
      "same libtorch built in. Each finding has a remedy.\n"
      "Exit code: 0 fine, 1 warnings, 2 unusable. The JSON's fields are in docs/doctor.md: "
      "status,\n"
      "streamgate, libtorch, blas, openmp, device, machine, operation, config, effective, limits,\n"
      "findings.");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace streamgate::tools

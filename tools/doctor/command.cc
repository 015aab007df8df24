// SPDX-License-Identifier: Apache-2.0
//
// `streamgate doctor`: what this process runs on, and what is wrong with it; and with --classify,
// what a model would be there.
#include <streamgate/policies/config.h>

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "commands.h"
#include "doctor/classify.h"
#include "doctor/diagnose.h"
#include "doctor/examine.h"
#include "doctor/render.h"

namespace streamgate::tools {
namespace {

struct Options {
  bool json = false;
  std::optional<std::string> config_file;
  std::optional<std::string> model_file;
  std::optional<std::string> backend;
};

int classify(const Options& options) {
  policies::Config config;
  if (options.config_file) config = policies::load_config(*options.config_file);
  if (options.backend) config.executor.backend = *options.backend;
  const Classification found = classify_model(*options.model_file, config);
  std::cout << (options.json ? classification_json(found) : classification_text(found));
  return all_known(found) ? kFine : kWarnings;
}

int run(const Options& options) {
  if (options.model_file) return classify(options);
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
  auto* model = command
                    ->add_option("--classify", options->model_file,
                                 "Instead, print the operations of a TorchScript file and their "
                                 "classes")
                    ->type_name("MODEL");
  command
      ->add_option("--backend", options->backend,
                   "With --classify: for this backend, not the config's; it need not be here")
      ->type_name("B")
      ->needs(model)
      ->check(CLI::IsMember({"cpu", "cuda", "mps", "emulator", "inline"}));
  command->footer(
      "Runs a small operation. What it says holds for programs with the same environment and the\n"
      "same libtorch built in. Each finding has a remedy.\n"
      "Exit code: 0 fine, 1 warnings, 2 unusable. The JSON's fields are in docs/doctor.md: "
      "status,\n"
      "streamgate, libtorch, blas, openmp, device, machine, operation, config, effective, limits,\n"
      "findings; those of --classify in docs/op_classes.md.");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// The command `streamgate`: what it does without a sub-command, and how every way of ending becomes
// an exit code. The sub-commands are in files of their own; see commands.h.
#include <streamgate/executor/executor.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/policies/config.h>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "commands.h"

namespace streamgate::tools {
namespace {

int print_config(const std::optional<std::string>& file) {
  policies::Config config;
  if (file) config = policies::load_config(*file);
  // The executor is what fills in the automatic values.
  const executor::Executor effective({.config = config});
  std::cout << policies::print_config(effective.config());
  return kFine;
}

std::string version() {
  return "streamgate " STREAMGATE_VERSION "\nlibtorch " + executor::loaded_torch_version() + " (" +
         executor::loaded_torch_path().string() + ")";
}

/// What is wrong with the command line, in words for people.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unexpected = app.remaining(true);
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError) ||
      unexpected.empty()) {
    return error.what();
  }
  const std::string& first = unexpected.front();
  const auto in_use = app.get_subcommands();
  if (first.starts_with('-')) {
    return "there is no option " + first + (in_use.empty() ? "" : " of " + in_use[0]->get_name());
  }
  if (!in_use.empty()) return in_use[0]->get_name() + " takes no argument '" + first + "'";
  std::string known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_group().empty()) continue;  // The probe's child processes are no news.
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  return "there is no sub-command '" + first + "'; there is: " + known;
}

int refuse(const std::string& why, const std::string& command) {
  std::cerr << "streamgate: " << why << "\nTry 'streamgate " << command << "--help'.\n";
  return kUnusable;
}

int run(int argc, const char* const* argv) {
  CLI::App app(
      "Runs libtorch work from every thread of a service, at a measured width. This command tells\n"
      "how things stand on this machine.",
      "streamgate");
  Action chosen;
  bool wants_config = false;
  std::optional<std::string> config_file;
  auto* print_option = app.add_flag(
      "--print-config", wants_config,
      "Print the effective config: every key, the automatic values filled in for this machine");
  app.add_option("--config", config_file,
                 "The config file (TOML) to print; without it, the defaults")
      ->type_name("FILE")
      ->needs(print_option);
  app.set_version_flag("--version", version, "Print the versions of streamgate and of libtorch");
  app.require_subcommand(0, 1);
  add_commands(app, chosen);
  app.footer(
      "`streamgate COMMAND --help` tells about one. Exit code: 0 fine, 1 warnings, 2 unusable or\n"
      "a wrong command line.");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version.
    const auto in_use = app.get_subcommands();
    return refuse(usage_error(app, error), in_use.empty() ? "" : in_use[0]->get_name() + " ");
  }
  if (wants_config && chosen) return refuse("--print-config goes without a sub-command", "");
  if (wants_config) return print_config(config_file);
  if (chosen) return chosen();
  std::cerr << app.help();
  return kUnusable;
}

}  // namespace
}  // namespace streamgate::tools

int main(int argc, char** argv) {
  using streamgate::tools::kUnusable;
  try {
    const int exit_code = streamgate::tools::run(argc, argv);
    if (!std::cout.flush()) {
      std::cerr << "streamgate: cannot write to the standard output\n";
      return kUnusable;
    }
    return exit_code;
  } catch (const streamgate::policies::ConfigError& error) {
    std::cerr << error.what() << '\n';  // One line for each error, each with file and line.
  } catch (const std::exception& error) {
    std::cerr << "streamgate: " << error.what() << '\n';
  }
  return kUnusable;
}

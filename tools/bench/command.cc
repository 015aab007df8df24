// SPDX-License-Identifier: Apache-2.0
//
// `streamgate bench`: measures a real model at every width, beside the adaptive limit and what
// there would be without Streamgate. Options, exit codes and what is written where; measuring is
// measure.h's.
#include <streamgate/executor/executor.h>
#include <streamgate/executor/internal/torch_library.h>

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bench/measure.h"
#include "bench/model.h"
#include "bench/render.h"
#include "commands.h"

namespace streamgate::tools {
namespace {

struct Options {
  std::filesystem::path model;
  std::vector<std::string> inputs;
  std::optional<std::string> backend;
  std::optional<std::filesystem::path> config;
  std::vector<std::size_t> clients = {8, 64};
  BenchOptions bench;
  bool json = false;
};

/// Where the measuring stands, where somebody watches.
OnTurn progress(std::size_t clients, std::size_t rounds) {
  if (isatty(STDERR_FILENO) == 0) return [](std::size_t, std::string_view) {};
  return [clients, rounds](std::size_t round, std::string_view way) {
    std::cerr << "\r\33[2Kbench: " << clients << " clients, round " << round << " of " << rounds
              << ": " << way << std::flush;
  };
}

int run(const Options& options) {
  BenchOptions bench = options.bench;
  if (options.config) bench.config = policies::load_config(*options.config);
  if (options.backend) bench.config.executor.backend = *options.backend;
  std::vector<InputShape> inputs;
  for (const std::string& input : options.inputs) inputs.push_back(parse_input_shape(input));

  BenchReport report{.model = options.model.filename().string(),
                     .libtorch = executor::loaded_torch_version(),
                     .cores = std::thread::hardware_concurrency(),
                     .rounds = bench.rounds,
                     .seconds = bench.seconds};
  {
    // The device is initialised on this thread, before anything else uses it.
    const executor::Executor first({.config = bench.config});
    report.backend = first.config().executor.backend;
    report.device = first.provenance().device;
  }
  const ScriptModel model(options.model, inputs, report.backend);
  for (const std::size_t clients : options.clients) {
    report.runs.push_back(measure(model, bench, clients, progress(clients, bench.rounds)));
  }
  if (isatty(STDERR_FILENO) != 0) std::cerr << "\r\33[2K";
  std::cout << (options.json ? render_bench_json(report) : render_bench_text(report));
  return kFine;
}

std::string is_shape(const std::string& text) {
  try {
    static_cast<void>(parse_input_shape(text));
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "bench", "Measure a TorchScript model at every width, beside the adaptive limit");
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto options = std::make_shared<Options>();
  BenchOptions& bench = options->bench;
  command->add_option("--model", options->model, "The model (TorchScript)")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--input", options->inputs,
                   "The shape of one argument of forward, as 32x256, with :int64 behind it for\n"
                   "whole numbers (which are 0); again for the next argument")
      ->type_name("SHAPE")
      ->check(CLI::Validator(is_shape, ""))
      ->required();
  command->add_option("--backend", options->backend, "In place of the config's")->type_name("NAME");
  command->add_option("--config", options->config, "Config of the adaptive run (TOML)")
      ->type_name("FILE");
  command->add_option("--clients", options->clients, "Client threads; one or more numbers")
      ->check(CLI::Range(1, 1024))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--max-width", bench.max_width, "The largest width to measure")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command
      ->add_option("--rounds", bench.rounds,
                   "Rounds of every width; and again of the best, the adaptive run and the "
                   "plain ways")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--seconds", bench.seconds, "Seconds of a turn")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command
      ->add_option("--settle-seconds", bench.settle_seconds,
                   "Seconds of load on the adaptive run, from a cold start, before its first turn")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_flag("--json", options->json, "JSON on stdout instead of the table");
  command->footer(
      "Clients ask again as soon as they have an answer. The ways take turns, so that what else "
      "the\n"
      "machine does falls on all alike; ratios are round by round. Run it on a machine that does\n"
      "nothing else. Exit code: 0 measured; 2 a wrong command line, or a model that cannot be "
      "run.");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace streamgate::tools

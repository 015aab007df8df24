// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <CLI/CLI.hpp>

#include <string>

namespace digits {

ParsedOptions parse_options(int argc, const char* const* argv) {
  Options options;
  std::string data = STREAMGATE_DIGITS_DATA;
  std::string config;
  std::string model_out;

  CLI::App app(
      "Trains a small net on handwritten digits and saves it as TorchScript; then many client\n"
      "threads ask that one model, in three ways turn by turn: plain threads, one global mutex, "
      "and\n"
      "Streamgate. Exit code: 0 fine, 1 a check failed (accuracy, equal answers), 2 cannot run.",
      "digits");
  app.add_option("--clients", options.clients, "Client threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--batch", options.batch, "Digits in a request")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--intra-op-threads", options.intra_op_threads,
                 "Intra-op threads that each client thread has in the ways without Streamgate;\n"
                 "without it, libtorch's default")
      ->check(CLI::Range(1, 256));
  app.add_option("--rounds", options.rounds, "Rounds; each has a turn of every way")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "Seconds of a turn")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  app.add_option("--epochs", options.epochs, "Epochs of training")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of training")->capture_default_str();
  app.add_option("--config", config, "Streamgate's config file (TOML); without it, the defaults");
  app.add_option("--model-out", model_out,
                 "Where the TorchScript file goes and stays; without it, a temporary folder");
  app.add_option("--data", data, "Folder of the digits, in IDX format")->capture_default_str();
  app.add_flag(
      "--sweep", options.sweep,
      "Instead of the three ways: plain threads by hand, over threads and intra-op threads,\n"
      "beside Streamgate with no setting at all");
  app.add_flag("--serve", options.serve, "Keep the metrics up until Ctrl-C");
  app.add_flag("--json", options.json, "The result as JSON on stdout; the rest goes to stderr");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {.options = {}, .exit_code = app.exit(error) == 0 ? 0 : 2};
  }
  options.data = data;
  options.config = config;
  options.model_out = model_out;
  return {.options = options, .exit_code = std::nullopt};
}

}  // namespace digits

// SPDX-License-Identifier: Apache-2.0
//
// The digits program: train, save, load again, serve in three ways, compare. What each of these is
// stands in its own file; this is their order, and what is said of them.
#include "comparison.h"
#include "digit_model.h"
#include "interrupt.h"
#include "options.h"
#include "progress_bar.h"
#include "rounds.h"
#include "sweep.h"
#include "table.h"
#include "temporary_folder.h"
#include "ways.h"

#include <streamgate/executor.h>
#include <streamgate/metrics.h>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace digits {
namespace {

constexpr int kFine = 0;
constexpr int kCheckFailed = 1;
constexpr int kCannotRun = 2;

std::string in_seconds(double seconds) { return fixed_point(seconds, seconds < 1 ? 2 : 1) + " s"; }

TrainingReport train(const Options& options, const Dataset& test,
                     const std::filesystem::path& model_file, std::ostream& out,
                     ProgressBar& progress) {
  const Dataset training = read_dataset(options.data, Split::kTraining);
  out << "Training on " << grouped(static_cast<double>(training.size())) << " digits, seed "
      << options.seed << ":\n";
  TrainingReport report =
      train_and_save(training, test, {.epochs = options.epochs, .seed = options.seed}, model_file,
                     [&](const TrainingProgress& so_far) { progress.show(so_far); });
  out << "Trained in " << in_seconds(std::chrono::duration<double>(report.duration).count())
      << "; right about " << fixed_point(100.0 * accuracy(report.answers, test), 1) << " % of "
      << grouped(static_cast<double>(test.size())) << " test digits.\n";
  return report;
}

nlohmann::ordered_json describe_run(const Options& options, const TrainingReport& training,
                                    const Dataset& test, const std::string& libtorch,
                                    std::size_t default_intra_op_threads) {
  return {{"libtorch", libtorch},
          {"cores", std::thread::hardware_concurrency()},
          {"default_intra_op_threads", default_intra_op_threads},
          {"training",
           {{"epochs", options.epochs},
            {"seed", options.seed},
            {"seconds", std::chrono::duration<double>(training.duration).count()},
            {"loss", training.loss},
            {"accuracy", accuracy(training.answers, test)}}},
          {"load",
           {{"clients", options.clients},
            {"batch", options.batch},
            {"rounds", options.rounds},
            {"seconds", options.seconds}}}};
}

/// What came out of either of the two things that this program does with a trained model.
struct Findings {
  std::vector<Series> all;
  std::string text;
  nlohmann::ordered_json json;
};

Findings compare_ways(const ModelServer& server, const LoadOptions& load, const Options& options,
                      const Dataset& test, const OnTurn& on_turn) {
  const std::size_t intra_op_threads =
      options.intra_op_threads != 0 ? options.intra_op_threads : server.default_intra_op_threads();
  std::vector<Series> all =
      take_turns({{.way = server.plain_threads(intra_op_threads), .load = load},
                  {.way = server.global_mutex(intra_op_threads), .load = load},
                  {.way = server.streamgate_run(), .load = load}},
                 options.rounds, on_turn);
  std::ostringstream text;
  print_comparison(text, all, test);
  nlohmann::ordered_json json = comparison_json(all, test);
  return {.all = std::move(all), .text = text.str(), .json = std::move(json)};
}

Findings sweep_by_hand(const ModelServer& server, const LoadOptions& load, const Options& options,
                       const OnTurn& on_turn) {
  const Sweep sweep = run_sweep(server, load, options.rounds, on_turn);
  std::ostringstream text;
  print_sweep(text, sweep);
  std::vector<Series> all = sweep.by_hand;
  all.insert(all.end(), sweep.streamgate.begin(), sweep.streamgate.end());
  return {.all = std::move(all), .text = text.str(), .json = sweep_json(sweep)};
}

int run(const Options& options) {
  // With --json, stdout is for the program that reads it.
  std::ostream& out = options.json ? std::cerr : std::cout;
  const bool terminal = isatty(options.json ? STDERR_FILENO : STDOUT_FILENO) != 0;
  ProgressBar progress(out, terminal ? Output::kTerminal : Output::kLog);

  const streamgate::Config config =
      options.config.empty() ? streamgate::Config{} : streamgate::load_config(options.config);
  const Dataset test = read_dataset(options.data, Split::kTest);

  std::optional<TemporaryFolder> temporary;
  std::filesystem::path model_file = options.model_out;
  if (model_file.empty()) model_file = temporary.emplace().path() / "digits.pt";
  const TrainingReport training = train(options, test, model_file, out, progress);

  // After the training: see ways.cc, 1.
  streamgate::Executor executor({.config = config});
  streamgate::MetricsEndpoint metrics(config.metrics);
  metrics.add("digits", executor);
  const ModelServer server(model_file, test, executor);
  temporary.reset();
  if (server.answers() != training.answers) {
    std::cerr << "digits: the model that was loaded from " << model_file
              << " answers differently from the one that was trained\n";
    return kCheckFailed;
  }
  out << "Saved as TorchScript" << (options.model_out.empty() ? "" : ", " + model_file.string())
      << ", and loaded again: the same answers.\n\n";

  const std::string libtorch = executor.provenance().libtorch;
  out << "Serving " << options.clients << " client threads, " << options.batch
      << " digits a request; libtorch " << libtorch << ", " << std::thread::hardware_concurrency()
      << " cores, " << server.default_intra_op_threads() << " intra-op threads by default.\n"
      << options.rounds << (options.rounds == 1 ? " round" : " rounds, each") << " with "
      << in_seconds(options.seconds)
      << " of every way. Metrics: " << (metrics.url().empty() ? "disabled" : metrics.url()) << "\n"
      << std::endl;
  if (server.default_intra_op_threads() < std::thread::hardware_concurrency() &&
      options.intra_op_threads == 0 && !options.sweep) {
    out << "(This libtorch does not see all cores here, and so its default happens to suit plain "
           "threads.\nWhere it sees them, as on most machines, their threads multiply: "
           "--intra-op-threads "
        << std::thread::hardware_concurrency() << " shows that.)\n\n";
  }
  const LoadOptions load{.clients = options.clients,
                         .batch = options.batch,
                         .digits = test.size(),
                         .duration = std::chrono::duration_cast<std::chrono::nanoseconds>(
                             std::chrono::duration<double>(options.seconds))};
  const OnTurn on_turn = [&](std::size_t round, const Contender& contender) {
    progress.show("round " + std::to_string(round) + '/' + std::to_string(options.rounds) + ": " +
                  contender.way.name);
  };
  const Findings findings = options.sweep ? sweep_by_hand(server, load, options, on_turn)
                                          : compare_ways(server, load, options, test, on_turn);
  progress.clear();
  const std::vector<std::string> wrong = complaints(findings.all, training.answers, test);
  if (options.json) {
    nlohmann::ordered_json json =
        describe_run(options, training, test, libtorch, server.default_intra_op_threads());
    json.update(findings.json);
    json["complaints"] = wrong;
    json["metrics_url"] = metrics.url();
    std::cout << json.dump(2) << std::endl;
  } else {
    std::cout << findings.text << std::flush;
  }
  for (const std::string& complaint : wrong) std::cerr << "digits: " << complaint << '\n';

  if (metrics.url().empty()) {
    out << "\nMetrics: disabled by the config.\n";
  } else if (options.serve) {
    out << "\nMetrics: " << metrics.url() << " until Ctrl-C." << std::endl;
    wait_for_interrupt();
  } else {
    out << "\nMetrics were at " << metrics.url() << "; with --serve they stay until Ctrl-C.\n";
  }
  return wrong.empty() ? kFine : kCheckFailed;
}

}  // namespace
}  // namespace digits

int main(int argc, char** argv) {
  const digits::ParsedOptions parsed = digits::parse_options(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  try {
    return digits::run(parsed.options);
  } catch (const std::exception& error) {
    std::cerr << "digits: " << error.what() << '\n';
    return digits::kCannotRun;
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// `streamgate probe`: measures this device's limits, in processes that may die. Options, exit codes
// and what is written where; the measuring is executor/probe's.
#include <streamgate/executor/probe/child_runner.h>
#include <streamgate/executor/probe/probe.h>
#include <streamgate/executor/probe/workload.h>
#include <streamgate/policies/limits_file.h>

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "commands.h"
#include "probe/interrupt.h"
#include "probe/output_files.h"
#include "probe/progress.h"
#include "probe/render.h"

namespace streamgate::tools {
namespace {

namespace probe = executor::probe;

struct Options {
  probe::WorkloadOptions workload;
  long long max_threads = 8;
  double confidence = 0.95;
  double budget_seconds = 60;
  std::optional<std::filesystem::path> out;
  std::optional<std::filesystem::path> reproducer;
  long long workers = 4;
  bool json = false;
};

probe::ProbeOptions probe_options(const Options& options) {
  return {.max_threads = static_cast<std::size_t>(options.max_threads),
          .confidence = options.confidence,
          .budget = std::chrono::milliseconds(std::llround(options.budget_seconds * 1000)),
          .workers = static_cast<std::size_t>(options.workers)};
}

/// A class that fails even alone is measured, and of no use.
bool each_survives_alone(const probe::ProbeReport& report) {
  for (const probe::ClassReport& measured : report.classes) {
    if (measured.limits.failures != 0) return false;
  }
  return true;
}

int write_results(const Options& options, const probe::ProbeReport& report) {
  if (!report.measured()) {
    std::cerr << "probe: not everything was measured in " << options.budget_seconds << " s"
              << (options.out ? ": nothing is written to " + options.out->string() : "")
              << ". Give it more --budget-seconds, or fewer --max-threads\n";
  } else if (options.out) {
    policies::save_limits(report.limits, *options.out);
    std::cerr << "probe: wrote " << options.out->string() << '\n';
  }
  if (options.reproducer) {
    std::cerr << "probe: " << write_reproducer(options.workload, report, *options.reproducer)
              << '\n';
  }
  std::cout << (options.json ? render_probe_json(report) : render_probe_text(report));
  return report.measured() && each_survives_alone(report) ? kFine : kWarnings;
}

int run(const Options& options) {
  // All that can be known to fail is to fail now, not after a minute.
  probe::check_workload(options.workload);
  if (options.out) check_writable(*options.out);
  if (options.reproducer) check_folder(*options.reproducer);

  ProbeProgress progress(
      isatty(STDERR_FILENO) != 0 ? ProbeProgress::Output::kTerminal : ProbeProgress::Output::kLog,
      probe_options(options).budget);
  const Interrupt interrupt;
  probe::ChildRunner runner(
      {.arguments = {"probe-trial", "--backend", options.workload.backend, "--fault-model",
                     options.workload.fault_model, "--capture-mode", options.workload.capture_mode},
       .stop = &interrupt.requested(),
       .on_progress = [&](const probe::Stage& stage, std::uint64_t operations) {
         progress.on_progress(stage, operations);
       }});
  try {
    const probe::ProbeReport report = probe::probe(probe_options(options), runner, progress);
    progress.clear();
    return write_results(options, report);
  } catch (const probe::ProbeInterrupted&) {
    progress.clear();
    std::cerr << "probe: interrupted; the child processes are ended, nothing is written\n";
    return kUnusable;
  }
}

std::string known_backends() {
  std::string known;
  for (const std::string_view name : probe::probed_backends()) {
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  return known;
}

/// In words that name the range; CLI11's own do not say that its ends are excluded.
std::string open_unit_interval(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value > 0 && value < 1) return {};
  return "'" + text + "' is not a number above 0 and below 1";
}

std::string budget_range(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value >= 0.001 && value <= 604'800) return {};
  return "'" + text + "' is not a number of seconds from 0.001 to 604800";
}

std::string width_range(const std::string& text) {
  long long value = 0;
  const auto most = static_cast<long long>(probe::kMaxWidth);
  if (CLI::detail::lexical_cast(text, value) && value >= 1 && value <= most) return {};
  return "'" + text + "' is not a whole number from 1 to " + std::to_string(most);
}

std::string workers_range(const std::string& text) {
  long long value = 0;
  const auto most = static_cast<long long>(probe::kMaxWorkers);
  if (CLI::detail::lexical_cast(text, value) && value >= 0 && value <= most) return {};
  return "'" + text + "' is not a whole number from 0 to " + std::to_string(most);
}

}  // namespace

void add_probe(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "probe", "Measure how many threads each op class survives here, in processes that may die");
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto options = std::make_shared<Options>();
  command->add_option("--backend", options->workload.backend, "What to probe: " + known_backends())
      ->type_name("NAME")
      ->required();
  command
      ->add_option("--fault-model", options->workload.fault_model,
                   "For the emulator: a shipped fault model's name, or a file (TOML)")
      ->type_name("NAME|FILE");
  command
      ->add_option("--capture-mode", options->workload.capture_mode,
                   "For cuda: global, thread_local or relaxed, in which graphs are captured")
      ->type_name("MODE")
      ->check(CLI::IsMember({"global", "thread_local", "relaxed"}))
      ->capture_default_str();
  command->add_option("--max-threads", options->max_threads, "The largest width to try")
      ->type_name("N")
      ->check(width_range)
      ->capture_default_str();
  command
      ->add_option("--confidence", options->confidence,
                   "Of the upper bound of the failure probability")
      ->type_name("P")
      ->check(open_unit_interval)
      ->capture_default_str();
  command
      ->add_option("--budget-seconds", options->budget_seconds,
                   "How long it may take in all; it ends earlier when all is known")
      ->type_name("S")
      ->check(budget_range)
      ->capture_default_str();
  command
      ->add_option("--workers", options->workers,
                   "Worker processes with which the gain of overflow is measured; 0: it is not")
      ->type_name("N")
      ->check(workers_range)
      ->capture_default_str();
  command->add_option("--out", options->out, "Write the limits file (TOML) here")
      ->type_name("FILE");
  command
      ->add_option("--reproducer", options->reproducer,
                   "Write the smallest program that shows a failure found into this folder")
      ->type_name("FOLDER");
  command->add_flag("--json", options->json, "One JSON object on stdout instead of the table");
  command->footer(
      "Runs trials in child processes, one at a time; this process touches no device. The class\n"
      "exclusive is not tried: its width is 1 by definition. Progress goes to stderr.\n"
      "Exit code: 0 every class was measured and survives at least alone; 1 a class fails even\n"
      "alone, or the budget ended before every class was measured (then no limits file is\n"
      "written); 2 a wrong command line or file, no child process could be run, or interrupted.\n"
      "How it measures, and the JSON's fields: docs/probe.md.");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace streamgate::tools

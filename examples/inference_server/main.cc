// SPDX-License-Identifier: Apache-2.0
//
// An inference server on Streamgate: KServe's V2 protocol over HTTP, models by a config, the
// executor's own config reloaded while it serves, Prometheus beside it. SIGHUP reloads; SIGTERM and
// Ctrl-C drain: what was taken is answered, what comes is told to go elsewhere.
#include "digit_model.h"
#include "http_server.h"
#include "idx_dataset.h"
#include "model.h"
#include "request_log.h"
#include "runner.h"
#include "server_config.h"
#include "service.h"

#include <streamgate/executor.h>
#include <streamgate/metrics.h>
#include <CLI/CLI.hpp>

#include <spdlog/spdlog.h>

#include <signal.h>

#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace inference_server {
namespace {

namespace fs = std::filesystem;

constexpr int kDrained = 0;
constexpr int kNotDrained = 1;
constexpr int kCannotRun = 2;

struct Options {
  fs::path config;
  fs::path digits;
  fs::path digits_data = STREAMGATE_DIGITS_DATA;
  fs::path executor_config;
  std::optional<std::uint16_t> port;
  std::size_t epochs = 8;
  std::size_t plain_pool = 0;
  std::string log_level = "info";
};

/// The digits model of examples/digits, trained where it is not there yet.
ServerConfig digits_config(const Options& options) {
  const fs::path file = options.digits / "digits.pt";
  if (!fs::exists(file)) {
    std::cout << "training the digits model: " << file.string() << std::endl;
    fs::create_directories(options.digits);
    const digits::Dataset training =
        digits::read_dataset(options.digits_data, digits::Split::kTraining);
    const digits::Dataset test = digits::read_dataset(options.digits_data, digits::Split::kTest);
    // Renamed when it is whole, so that a training that was interrupted leaves no model.
    const fs::path part = file.string() + ".part";
    (void)digits::train_and_save(training, test, {.epochs = options.epochs}, part,
                                 [](const digits::TrainingProgress&) {});
    fs::rename(part, file);
  }
  ServerConfig config;
  config.models.push_back(
      {.name = "digits",
       .file = file,
       .op_class = {},
       .inputs = {{.name = "images", .type = DataType::kFp32, .shape = {-1, 1, 28, 28}}},
       .outputs = {{.name = "scores", .type = DataType::kFp32, .shape = {-1, 10}}}});
  return config;
}

/// The signals that this program is told by. Blocked in every thread, so that they are waited for
/// and not handled: what follows them may lock and allocate.
sigset_t blocked_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int each : {SIGHUP, SIGINT, SIGTERM}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

void wait_for_end(const sigset_t& signals, streamgate::ConfigWatcher* watcher) {
  for (;;) {
    int which = 0;
    if (sigwait(&signals, &which) != 0) continue;
    if (which != SIGHUP) return;
    if (watcher != nullptr) watcher->reload();
  }
}

int run(const Options& options) {
  const sigset_t signals = blocked_signals();  // Before there is a second thread.
  RequestLog requests(open_log(options.log_level));
  ServerConfig config =
      options.config.empty() ? digits_config(options) : load_server_config(options.config);
  if (options.port) config.http.port = *options.port;
  if (!options.executor_config.empty()) config.executor_config = options.executor_config;

  streamgate::ExecutorOptions executor_options;
  if (!config.executor_config.empty()) {
    executor_options.config = streamgate::load_config(config.executor_config);
  }
  executor_options.observer = &requests;
  const auto metrics_config = executor_options.config.metrics;
  streamgate::Executor executor(std::move(executor_options));
  std::optional<streamgate::ConfigWatcher> watcher;
  if (!config.executor_config.empty()) watcher.emplace(executor, config.executor_config);

  std::vector<std::unique_ptr<Model>> models;
  for (ModelConfig& model : config.models) {
    models.push_back(std::make_unique<Model>(std::move(model), executor));
  }
  const std::unique_ptr<Runner> runner = options.plain_pool > 0
                                             ? make_plain_pool_runner(options.plain_pool)
                                             : make_executor_runner(executor);
  Service service(config, std::move(models), *runner);
  streamgate::MetricsEndpoint metrics(metrics_config);
  metrics.add("inference", executor);
  metrics.add(service.metrics());
  HttpServer server(config.http, service.handlers());
  std::cout << "serving " << server.url() << "/v2/models\nmetrics " << metrics.url() << "\nstatus "
            << metrics.status_url() << std::endl;

  wait_for_end(signals, watcher ? &*watcher : nullptr);
  std::cout << "draining" << std::endl;
  const auto deadline = std::chrono::steady_clock::now() + config.drain_timeout;
  // The server goes on listening: who comes now, or asks whether it is ready, is told.
  const bool answered = service.drain(deadline);
  const bool ended =
      executor
          .drain(answered ? streamgate::Drain::kFinish : streamgate::Drain::kCancelAll, deadline)
          .drained;
  server.stop();
  std::cout << (answered && ended ? "drained" : "not drained in time") << std::endl;
  return answered && ended ? kDrained : kNotDrained;
}

std::optional<int> parse(int argc, const char* const* argv, Options& options) {
  CLI::App app("An inference server on Streamgate (KServe V2 over HTTP).");
  auto* const config = app.add_option("--config", options.config, "the server's config (TOML)");
  app.add_option("--digits", options.digits,
                 "serve the digits model of this folder; it is trained where it is not there")
      ->excludes(config);
  app.add_option("--digits-data", options.digits_data, "the digits to train with");
  app.add_option("--epochs", options.epochs, "of that training")->check(CLI::Range(1, 100));
  app.add_option("--executor-config", options.executor_config,
                 "Streamgate's config; watched, and reloaded when it changes");
  app.add_option("--log-level", options.log_level,
                 "trace, debug, info, warning, error, critical or off")
      ->capture_default_str();
  app.add_option("--port", options.port, "instead of the config's; 0 is any free one");
  app.add_option("--plain-pool", options.plain_pool,
                 "run models on so many plain threads instead, to compare with")
      ->check(CLI::Range(1, 1024));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDrained : kCannotRun;
  }
  if (options.config.empty() && options.digits.empty()) {
    std::cerr << "inference_server: name a --config, or a folder for --digits\n";
    return kCannotRun;
  }
  return std::nullopt;
}

}  // namespace
}  // namespace inference_server

int main(int argc, char** argv) {
  inference_server::Options options;
  if (const auto code = inference_server::parse(argc, argv, options)) return *code;
  try {
    const int code = inference_server::run(options);
    streamgate::set_log_sink(nullptr);
    spdlog::shutdown();  // What still waits to be written is.
    return code;
  } catch (const std::exception& error) {
    std::cerr << "inference_server: " << error.what() << '\n';
    return inference_server::kCannotRun;
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// The watcher's thread, and what it says of its reloads.
#include <streamgate/executor/config_watcher.h>

#include <streamgate/executor/executor.h>
#include <streamgate/executor/internal/file_watch.h>
#include <streamgate/executor/internal/log.h>
#include <streamgate/executor/internal/thread_name.h>
#include <streamgate/policies/config.h>

#include <atomic>
#include <exception>
#include <sstream>
#include <thread>
#include <utility>

namespace streamgate::executor {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const Executor& executor, const fs::path& config_file) {
  std::vector<fs::path> files = {config_file};
  const std::string limits_file = executor.config().limits.file;
  if (!limits_file.empty()) files.emplace_back(limits_file);
  return files;
}

std::string joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

}  // namespace

class ConfigWatcher::Watch {
 public:
  Watch(Executor& executor, fs::path config_file, ConfigWatcherOptions options)
      : executor_(executor),
        config_file_(std::move(config_file)),
        options_(std::move(options)),
        files_(files_of(executor, config_file_)),
        thread_([this] { loop(); }) {}

  ~Watch() {
    ends_.store(true, std::memory_order_seq_cst);
    files_.wake();
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void wake() noexcept { files_.wake(); }

 private:
  void loop() {
    set_thread_name("sg-config");
    do {
      const ReloadReport report = reload();
      say(report);
      if (options_.on_reload) options_.on_reload(report);
      // Whatever has changed, and whoever asked, the answer is a reload.
      static_cast<void>(files_.wait());
    } while (!ends_.load(std::memory_order_seq_cst));
  }

  [[nodiscard]] ReloadReport reload() {
    ReloadReport report;
    try {
      const policies::Config before = executor_.config();
      report.for_restart = executor_.reload(config_file_);
      report.changed = policies::changed_keys(before, executor_.config());
    } catch (const std::exception& error) {
      report.error = error.what();
      if (report.error.empty()) report.error = "unknown error";
    }
    return report;
  }

  void say(const ReloadReport& report) {
    const std::string file = config_file_.string();
    if (!report.error.empty()) {
      if (report.error == said_error_) return;
      said_error_ = report.error;
      std::string text = file + " is not taken over, and nothing changes:";
      std::istringstream lines(report.error);
      for (std::string line; std::getline(lines, line);) text += "\n  " + line;
      log_each(LogLevel::kError, "reload_failed", text, {{"file", file}, {"error", report.error}});
      return;
    }
    if (!report.changed.empty()) {
      const std::string keys = joined(report.changed);
      log_each(LogLevel::kInfo, "reloaded", file + " was reloaded; changed: " + keys,
               {{"file", file}, {"changed", keys}});
    } else if (!said_error_.empty()) {
      log_each(LogLevel::kInfo, "reloaded", file + " was reloaded, and is as it should be again",
               {{"file", file}});
    }
    said_error_.clear();
    if (report.for_restart != said_for_restart_ && !report.for_restart.empty()) {
      const std::string keys = joined(report.for_restart);
      log_each(LogLevel::kWarning, "restart_needed",
               file + ": these take effect only on a restart, and are left until then: " + keys,
               {{"file", file}, {"keys", keys}});
    }
    said_for_restart_ = report.for_restart;
  }

  Executor& executor_;
  const fs::path config_file_;
  const ConfigWatcherOptions options_;
  std::string said_error_;                          ///< Of the last reload; empty: it was good.
  std::vector<std::string_view> said_for_restart_;  ///< Of the last good one.
  std::atomic<bool> ends_{false};
  FileWatch files_;
  std::thread thread_;  // Last: it uses the others.
};

ConfigWatcher::ConfigWatcher(Executor& executor, fs::path config_file, ConfigWatcherOptions options)
    : watch_(std::make_unique<Watch>(executor, std::move(config_file), std::move(options))) {}

ConfigWatcher::~ConfigWatcher() = default;

void ConfigWatcher::reload() noexcept { watch_->wake(); }

}  // namespace streamgate::executor

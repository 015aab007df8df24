// SPDX-License-Identifier: Apache-2.0
//
// Keeps an executor's configuration that of its file while the service runs. What a reload does is
// Executor::reload; this is when it happens, and who is told.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {

class Executor;

/// What became of one reload.
struct ReloadReport {
  /// The keys that have another value in the executor now.
  std::vector<std::string_view> changed{};
  /// The keys that differ in the file, and take effect only on a restart.
  std::vector<std::string_view> for_restart{};
  /// Why nothing was taken over, a line for each thing that is wrong; empty when nothing is.
  std::string error{};
};

struct ConfigWatcherOptions {
  /// Called after each reload, on the watcher's thread; must not throw. For a service with keys or
  /// logs of its own.
  std::function<void(const ReloadReport&)> on_reload{};
};

/// Reloads an executor's config when its file, or the limits file that the executor was built with,
/// is replaced or written, and when it is asked to. What is live takes effect at once; keys that
/// need a restart are named in the log and left. A file that cannot be used changes nothing: each
/// of its errors is logged with its line, once until the file is mended or has other errors, and
/// Snapshot::reloads, so the metric, counts it.
///
/// Thread-safety: reload is thread-safe and async-signal-safe: it may be called in SIGHUP's
/// handler. Ownership: borrows the executor, which must outlive it. Has a thread of its own.
/// Blocking: the destructor waits for a reload in progress.
/// Failure: the constructor throws std::system_error when it cannot have a pipe or a thread. A file
/// that cannot be used is not a failure, not even at first: the executor has a config.
/// The first reload comes at once, as the file may have changed since the executor read it.
///
///     streamgate::Executor executor("streamgate.toml");
///     streamgate::ConfigWatcher watcher(executor, "streamgate.toml");
///     ...
///     watcher.reload();  // On SIGHUP.
class ConfigWatcher {
 public:
  ConfigWatcher(Executor& executor, std::filesystem::path config_file,
                ConfigWatcherOptions options = {});
  ~ConfigWatcher();
  ConfigWatcher(const ConfigWatcher&) = delete;
  ConfigWatcher& operator=(const ConfigWatcher&) = delete;

  /// Asks for a reload, also where no file has changed. Does not wait for it.
  void reload() noexcept;

 private:
  class Watch;
  std::unique_ptr<Watch> watch_;
};

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The promises of hot reload, with files that are really replaced, and of the watch on files below
// it: what is a change, and what is not yet one.
#include <streamgate/executor.h>
#include <streamgate/executor/internal/file_watch.h>
#include <streamgate/policies/limits_file.h>

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "../support/temporary_folder.h"

namespace streamgate::executor {
namespace {

using testing::Census;
using testing::drain_all;
using testing::eventually;
using testing::TemporaryFolder;
using testing::kGuard;
using testing::write_by_rename;
using testing::write_in_place;

namespace fs = std::filesystem;
using Names = std::vector<std::string_view>;

std::string config_text(std::size_t max_tasks, std::string_view more = "") {
  return "[executor]\nbackend = 'inline'\nthreads = 2\n[queue]\nmax_tasks = " +
         std::to_string(max_tasks) + "\n" + std::string(more);
}

// ---- the watch ----

/// A watch with a thread that counts what it is told.
class Watching {
 public:
  explicit Watching(std::vector<fs::path> files, FileWatch::Way way = FileWatch::Way::kAuto)
      : watch_(std::move(files), way), thread_([this] {
          while (watch_.wait() == FileWatch::Reason::kChanged) ++changes_;
        }) {}
  ~Watching() {
    watch_.wake();
    thread_.join();
  }
  [[nodiscard]] int changes() const { return changes_; }

 private:
  std::atomic<int> changes_{0};
  FileWatch watch_;
  std::thread thread_;
};

class FileWatchOf : public ::testing::TestWithParam<FileWatch::Way> {
 protected:
  TemporaryFolder folder_;
  const fs::path file_ = folder_ / "a.toml";
};

TEST_P(FileWatchOf, WritingRenamingAndComingAreChanges) {
  Watching watching({file_}, GetParam());
  write_in_place(file_, "1");
  EXPECT_TRUE(eventually([&] { return watching.changes() >= 1; })) << "it came";
  int before = watching.changes();
  write_by_rename(file_, "22");
  EXPECT_TRUE(eventually([&] { return watching.changes() > before; })) << "it was replaced";
  before = watching.changes();
  write_in_place(file_, "333");
  EXPECT_TRUE(eventually([&] { return watching.changes() > before; })) << "it was written";
  fs::remove(file_);
  before = watching.changes();
  write_in_place(file_, "4444");
  EXPECT_TRUE(eventually([&] { return watching.changes() > before; })) << "it went and came";
}

TEST_P(FileWatchOf, AFolderThatComesLaterIsWatchedToo) {
  const fs::path file = folder_ / "later" / "a.toml";
  Watching watching({file}, GetParam());
  fs::create_directory(folder_ / "later");
  write_in_place(file, "1");
  EXPECT_TRUE(eventually([&] { return watching.changes() >= 1; }));
  const int before = watching.changes();
  write_by_rename(file, "22");
  EXPECT_TRUE(eventually([&] { return watching.changes() > before; }));
}

TEST_P(FileWatchOf, LinksOnTheWayAreFollowed) {
  // As Kubernetes mounts a config map: the file is a link into a folder that is a link.
  for (const char* version : {"v1", "v2"}) {
    fs::create_directory(folder_ / version);
    write_in_place(folder_ / version / "a.toml", version);
  }
  fs::create_symlink("v1", folder_ / "data");
  fs::create_symlink("data/a.toml", file_);
  Watching watching({file_}, GetParam());
  write_in_place(folder_ / "v1" / "a.toml", "written where the links lead");
  EXPECT_TRUE(eventually([&] { return watching.changes() >= 1; }));
  int before = watching.changes();
  fs::create_symlink("v2", folder_ / "data.new");
  fs::rename(folder_ / "data.new", folder_ / "data");
  EXPECT_TRUE(eventually([&] { return watching.changes() > before; })) << "a folder's link";
  before = watching.changes();
  write_by_rename(folder_ / "v2" / "a.toml", "written where the links lead now");
  EXPECT_TRUE(eventually([&] { return watching.changes() > before; })) << "behind the new link";
}

INSTANTIATE_TEST_SUITE_P(EachWay, FileWatchOf,
                         ::testing::Values(FileWatch::Way::kAuto, FileWatch::Way::kLook),
                         [](const auto& way) {
                           return way.param == FileWatch::Way::kAuto ? "Told" : "ByLooks";
                         });

#ifdef __linux__
TEST(FileWatch, AFileThatIsBeingWrittenAndOtherFilesAreNoChange) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.toml";
  write_in_place(file, "whole");
  FileWatch watch({file});
  // What the system tells is there when the call that it is about returns, and goes before a wake.
  std::ofstream writer(file, std::ios::trunc);
  writer << "half of" << std::flush;
  write_in_place(folder / "c.toml", "none of ours");
  fs::remove(folder / "c.toml");
  watch.wake();
  EXPECT_EQ(watch.wait(), FileWatch::Reason::kWoken);
  writer << " it" << std::flush;
  writer.close();
  watch.wake();
  EXPECT_EQ(watch.wait(), FileWatch::Reason::kChanged);
  EXPECT_EQ(watch.wait(), FileWatch::Reason::kWoken);
  fs::remove(file);
  std::ofstream successor(file);
  watch.wake();
  EXPECT_EQ(watch.wait(), FileWatch::Reason::kWoken) << "it is empty so far";
  successor << "its successor" << std::flush;
  successor.close();
  EXPECT_EQ(watch.wait(), FileWatch::Reason::kChanged);
}
#endif

// ---- the watcher ----

/// Keeps what the watcher reported.
class Reports {
 public:
  [[nodiscard]] ConfigWatcherOptions options() {
    return {.on_reload = [this](const ReloadReport& report) {
      const std::lock_guard lock(mutex_);
      reports_.push_back(report);
    }};
  }
  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return reports_.size();
  }
  [[nodiscard]] bool any(const std::function<bool(const ReloadReport&)>& is) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(reports_.begin(), reports_.end(), is);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<ReloadReport> reports_;
};

std::size_t occurrences(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ConfigWatcher, LiveKeysTakeEffectAndKeysForARestartAreNamedAndLeft) {
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  write_in_place(file, config_text(100));
  Executor executor(file);
  Reports reports;
  ::testing::internal::CaptureStderr();
  {
    const ConfigWatcher watcher(executor, file, reports.options());
    write_by_rename(file, config_text(200, "when_full = 'shed_lowest'\n[metrics]\nport = 9\n"));
    EXPECT_TRUE(eventually([&] { return executor.config().queue.max_tasks == 200; }));
    EXPECT_TRUE(eventually([&] {
      return reports.any([](const ReloadReport& report) {
        return report.changed == Names{"queue.max_tasks", "queue.when_full"} &&
               report.for_restart == Names{"metrics.port"} && report.error.empty();
      });
    }));
    EXPECT_EQ(executor.config().metrics.port, 0);
    EXPECT_EQ(executor.snapshot().reloads.keys_for_restart, 1U);
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(occurrences(log, "changed: queue.max_tasks, queue.when_full\n"), 1U) << log;
  EXPECT_EQ(occurrences(log, "only on a restart, and are left until then: metrics.port\n"), 1U);
}

TEST(ConfigWatcher, ABrokenFileChangesNothingIsLoggedOnceWithItsLineAndCounted) {
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  write_in_place(file, config_text(100));
  Executor executor(file);
  const Config before = executor.config();
  Reports reports;
  ::testing::internal::CaptureStderr();
  {
    ConfigWatcher watcher(executor, file, reports.options());
    ASSERT_TRUE(eventually([&] { return reports.count() == 1; }));
    write_by_rename(file, config_text(200, "max_flasks = 1\n"));
    ASSERT_TRUE(eventually([&] { return executor.snapshot().reloads.failed == 1; }));
    ASSERT_TRUE(eventually([&] { return reports.count() == 2; }));
    watcher.reload();
    ASSERT_TRUE(eventually([&] { return executor.snapshot().reloads.failed == 2; }));
    EXPECT_TRUE(executor.snapshot().reloads.last_failed);
    EXPECT_EQ(executor.config(), before);
    ASSERT_TRUE(eventually([&] { return reports.count() == 3; }));
    write_by_rename(file, config_text(100));
    ASSERT_TRUE(eventually([&] { return !executor.snapshot().reloads.last_failed; }));
    ASSERT_TRUE(eventually([&] { return reports.count() == 4; }));
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(occurrences(log, "is not taken over"), 1U) << log;
  EXPECT_EQ(occurrences(log, "streamgate.toml:6: queue.max_flasks"), 1U) << log;
  EXPECT_EQ(occurrences(log, "as it should be again"), 1U) << log;
}

TEST(ConfigWatcher, AVanishedFileChangesNothing) {
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  write_in_place(file, config_text(100));
  Executor executor(file);
  Reports reports;
  const ConfigWatcher watcher(executor, file, reports.options());
  ASSERT_TRUE(eventually([&] { return reports.count() == 1; }));
  fs::remove(file);
  write_in_place(file, config_text(300));
  EXPECT_TRUE(eventually([&] { return executor.config().queue.max_tasks == 300; }));
  EXPECT_EQ(executor.snapshot().reloads.failed, 0U) << "it was read while it was not there";
}

TEST(ConfigWatcher, LimitsAreCheckedWhenTheyChangeAndWaitForARestart) {
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  const fs::path limits_file = folder / "limits.toml";
  policies::Limits limits{.provenance = {.backend = "inline"},
                          .classes = {{.op_class = OpClass::kGraph, .ceiling = 3}}};
  save_limits(limits, limits_file);
  write_in_place(file, config_text(100, "[limits]\nfile = '" + limits_file.string() + "'\n"));
  Executor executor(file);
  const Config before = executor.config();
  Reports reports;
  const ConfigWatcher watcher(executor, file, reports.options());
  ASSERT_TRUE(eventually([&] { return reports.count() == 1; }));
  limits.classes[0].ceiling = 2;
  save_limits(limits, limits_file);
  EXPECT_TRUE(eventually([&] {
    return reports.any([](const auto& report) {
      return report.for_restart == Names{"limits.file"} && report.error.empty();
    });
  }));
  write_by_rename(limits_file, "[provenance]\nbackend = 3\n");
  EXPECT_TRUE(eventually([&] {
    return reports.any([](const auto& report) {
      return report.error.find("limits.toml:2:") != report.error.npos;
    });
  }));
  EXPECT_TRUE(executor.snapshot().reloads.last_failed);
  EXPECT_EQ(executor.config(), before);
}

ConfigWatcher* hung_up = nullptr;
extern "C" void on_hang_up(int) { hung_up->reload(); }

TEST(ConfigWatcher, ASignalsHandlerMayAskForAReload) {
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  write_in_place(file, config_text(100));
  Executor executor(file);
  Reports reports;
  ConfigWatcher watcher(executor, file, reports.options());
  hung_up = &watcher;
  struct sigaction handler {};
  handler.sa_handler = on_hang_up;
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGHUP, &handler, &before), 0);
  ASSERT_TRUE(eventually([&] { return reports.count() == 1; }));
  ::raise(SIGHUP);
  EXPECT_TRUE(eventually([&] { return reports.count() == 2; }));
  ::sigaction(SIGHUP, &before, nullptr);
}

TEST(ConfigWatcher, AChangeBeforeItBeganIsNotMissed) {
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  write_in_place(file, config_text(100));
  Executor executor(file);
  write_in_place(file, config_text(200));
  const ConfigWatcher watcher(executor, file);
  EXPECT_TRUE(eventually([&] { return executor.config().queue.max_tasks == 200; }));
}

TEST(ConfigWatcher, AThousandReloadsUnderLoadLoseNoTaskAndPassNoCeiling) {
  static constexpr std::size_t kReloads = 1'000;
  static constexpr std::size_t kCeiling = 3;
  const TemporaryFolder folder;
  const fs::path file = folder / "streamgate.toml";
  const auto text = [](std::size_t i) {
    return config_text(10'000 + i,
                       "[gate.raw]\nceiling = 3\nlimit = " + std::to_string(1 + i % kCeiling) +
                           "\n[gate.graph]\nceiling = 3\nlimit = " +
                           std::to_string(1 + (i + 1) % kCeiling) + "\n");
  };
  write_in_place(file, text(0));
  Executor executor(file);
  std::array<Census, 2> inside;
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<bool> stop{false};
  std::vector<std::jthread> clients;
  for (std::size_t client = 0; client < 3; ++client) {
    clients.emplace_back([&, client] {
      const OpClass op_class = client % 2 == 0 ? OpClass::kRaw : OpClass::kGraph;
      const auto work = [&census = inside[client % 2]] {
        EXPECT_LE(census.enter(), kCeiling);
        census.leave();
      };
      while (!stop.load()) {
        std::array<Future<void>, 10> futures;
        for (auto& future : futures) future = executor.submit({.op_class = op_class}, work);
        EXPECT_TRUE(executor.run({.op_class = op_class}, work));
        for (auto& future : futures) {
          ASSERT_TRUE(future.wait_for(kGuard));
          EXPECT_TRUE(future.get());
        }
        submitted += futures.size() + 1;
      }
    });
  }
  std::vector<std::chrono::steady_clock::duration> delays;
  {
    const ConfigWatcher watcher(executor, file);
    for (std::size_t i = 1; i <= kReloads; ++i) {
      const auto written = std::chrono::steady_clock::now();
      write_by_rename(file, text(i));
      ASSERT_TRUE(eventually([&] { return executor.config().queue.max_tasks == 10'000 + i; }));
      delays.push_back(std::chrono::steady_clock::now() - written);
      if (i % 10 != 0) continue;
      const std::uint64_t failed = executor.snapshot().reloads.failed;
      write_by_rename(file, text(i) + "limit = 9\n");
      ASSERT_TRUE(eventually([&] { return executor.snapshot().reloads.failed > failed; }));
      EXPECT_EQ(executor.config().queue.max_tasks, 10'000 + i);
    }
  }
  stop = true;
  clients.clear();
  drain_all(executor);
  EXPECT_EQ(testing::count_of(executor.snapshot(), Outcome::kOk), submitted.load());
  EXPECT_EQ(testing::count_of_ended(executor.snapshot()), submitted.load());
  EXPECT_GE(executor.snapshot().reloads.applied, kReloads);
  EXPECT_GE(executor.snapshot().reloads.failed, kReloads / 10);
  std::nth_element(delays.begin(), delays.begin() + kReloads / 2, delays.end());
  EXPECT_LT(delays[kReloads / 2], std::chrono::seconds(1)) << "the median";
}

}  // namespace
}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// The library's log: what a sink of the service's gets, by level and by rate.
#include <streamgate/executor.h>
#include <streamgate/executor/internal/log.h>
#include <streamgate/executor/internal/log_rate.h>

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::executor {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Said {
  LogLevel level;
  std::string event;
  std::string text;
  std::vector<std::pair<std::string, std::string>> fields;
};

/// Hears the log for as long as it lives.
class Listener {
 public:
  Listener() {
    set_log_sink([this](const LogRecord& record) {
      const std::lock_guard lock(mutex_);
      said_.push_back({record.level, std::string(record.event), std::string(record.text), {}});
      for (const LogField& field : record.fields) {
        said_.back().fields.emplace_back(field.key, field.value);
      }
    });
  }
  ~Listener() {
    set_log_sink(nullptr);
    set_log_level(LogLevel::kInfo);
  }
  [[nodiscard]] std::vector<Said> said() {
    const std::lock_guard lock(mutex_);
    return said_;
  }

 private:
  std::mutex mutex_;
  std::vector<Said> said_;
};

/// A name that no earlier run of a test in this process has used up the rate of.
std::string_view fresh(const std::string& event) {
  // Never destroyed: the log keeps the names that it is told, which are literals elsewhere.
  static auto& names = *new std::deque<std::string>;
  return names.emplace_back(event + std::to_string(names.size()));
}

TEST(Log, ASinkGetsLevelEventTextAndFields) {
  Listener listener;
  const std::string_view event = fresh("test_fields");
  log(LogLevel::kWarning, event, "it is so", {{"file", "a.toml"}, {"line", "3"}});
  const auto said = listener.said();
  ASSERT_EQ(said.size(), 1U);
  EXPECT_EQ(said[0].level, LogLevel::kWarning);
  EXPECT_EQ(said[0].event, event);
  EXPECT_EQ(said[0].text, "it is so");
  EXPECT_EQ(said[0].fields, (decltype(said[0].fields){{"file", "a.toml"}, {"line", "3"}}));
}

TEST(Log, BelowTheLevelNothingIsSaid) {
  Listener listener;
  log(LogLevel::kDebug, fresh("test_level"), "debug");
  EXPECT_TRUE(listener.said().empty()) << "at first it is info";
  set_log_level(LogLevel::kError);
  log(LogLevel::kWarning, fresh("test_level"), "warning");
  EXPECT_TRUE(listener.said().empty());
  log(LogLevel::kError, fresh("test_level"), "error");
  EXPECT_EQ(listener.said().size(), 1U);
}

TEST(Log, WhatComesTooOftenIsLeftOutUnlessItCannotComeOften) {
  Listener listener;
  const std::string_view often = fresh("test_often");
  for (int i = 0; i < 100; ++i) log(LogLevel::kInfo, often, "x");
  const std::size_t limited = listener.said().size();
  EXPECT_GE(limited, 10U);
  EXPECT_LT(limited, 100U);
  for (int i = 0; i < 100; ++i) log_each(LogLevel::kInfo, "test_each", "x");
  EXPECT_EQ(listener.said().size(), limited + 100);
}

TEST(Log, WithoutASinkItIsALineEachOnStderr) {
  ::testing::internal::CaptureStderr();
  log(LogLevel::kInfo, fresh("test_stderr"), "one\n  two");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "streamgate: one\nstreamgate:   two\n");
}

TEST(Log, ASinkThatThrowsHarmsNobody) {
  set_log_sink([](const LogRecord&) { throw 42; });
  log(LogLevel::kError, fresh("test_throws"), "x");
  set_log_sink(nullptr);
}

TEST(Log, ASinkMayBeReplacedWhileOthersSpeak) {
  std::vector<std::jthread> speakers;
  for (int i = 0; i < 3; ++i) {
    speakers.emplace_back([](const std::stop_token& stop) {
      while (!stop.stop_requested()) log(LogLevel::kInfo, "test_replaced", "x");
    });
  }
  for (int i = 0; i < 200; ++i) {
    set_log_sink([text = std::string(100, 'x')](const LogRecord& record) {
      ASSERT_EQ(text.size(), 100U);
      ASSERT_EQ(record.text, "x");
    });
  }
  speakers.clear();
  set_log_sink(nullptr);
}

TEST(LogRate, AnEventThatComesTooOftenIsLeftOutAndCounted) {
  LogRate rate;
  LogRate::Time now{seconds(100)};
  for (int i = 0; i < 10; ++i) EXPECT_EQ(rate.take("worker_died", now), 0U) << i;
  for (int i = 0; i < 25; ++i) EXPECT_FALSE(rate.take("worker_died", now));
  EXPECT_EQ(rate.take("reload_failed", now), 0U) << "another event has a rate of its own";
  now += milliseconds(999);
  EXPECT_FALSE(rate.take("worker_died", now));
  now += milliseconds(1);
  EXPECT_EQ(rate.take("worker_died", now), 26U) << "a second later one is said, and what was not";
  EXPECT_FALSE(rate.take("worker_died", now));
  now += seconds(3'600);
  EXPECT_EQ(rate.take("worker_died", now), 1U);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(rate.take("worker_died", now), 0U);
  EXPECT_FALSE(rate.take("worker_died", now)) << "and no more than ten at once, however long ago";
}

}  // namespace
}  // namespace streamgate::executor

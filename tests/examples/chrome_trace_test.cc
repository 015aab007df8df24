// SPDX-License-Identifier: Apache-2.0
//
// The trace file of examples/trace: JSON in the form that Perfetto opens, with every task's phases.
#include "chrome_trace.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "../support/executors.h"

namespace trace_example {
namespace {

using Json = nlohmann::json;
using std::chrono::microseconds;
using streamgate::Outcome;
using streamgate::TaskRecord;

Json written(const TraceRecorder& recorder) {
  std::ostringstream out;
  write_chrome_trace(recorder, out);
  return Json::parse(out.str());
}

TEST(ChromeTrace, OfARunHasEachTaskOnItsStreamWithItsWaitAndItsEncoding) {
  constexpr std::size_t kTasks = 200;
  TraceRecorder recorder(kTasks);
  {
    streamgate::ExecutorOptions options{.config = streamgate::testing::inline_config(2)};
    options.observer = &recorder;
    options.observed = streamgate::Observed::kAll;
    streamgate::Executor executor(std::move(options));
    for (std::size_t i = 0; i < kTasks; ++i) {
      (void)executor.submit({.name = "work"}, [] {}).get();
    }
  }
  const Json trace = written(recorder);
  std::map<std::string, std::size_t> phases;
  std::map<std::int64_t, double> waits;
  std::set<std::int64_t> tracks;
  std::set<std::int64_t> named;
  for (const Json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    ++phases[phase + ' ' + event.at("name").get<std::string>()];
    const std::int64_t track = event.at("tid");
    if (phase == "M") {
      named.insert(track);
      continue;
    }
    EXPECT_GE(event.at("ts"), 0);
    tracks.insert(track);
    if (phase == "X") {
      EXPECT_GE(event.at("dur"), 0);
    }
    if (phase == "b") waits[event.at("id")] = event.at("ts");
    if (phase == "e") {
      EXPECT_GE(event.at("ts"), waits.at(event.at("id")));
    }
  }
  EXPECT_EQ(phases["X work"], kTasks);
  EXPECT_EQ(phases["X encode"], kTasks);
  EXPECT_EQ(phases["b wait"], kTasks);
  EXPECT_EQ(phases["e wait"], kTasks);
  for (const std::int64_t track : tracks) EXPECT_TRUE(named.contains(track)) << track;
}

TEST(ChromeTrace, TimesAreMicrosecondsSinceTheFirstSubmission) {
  const TaskRecord::Time start{std::chrono::hours(5)};
  TraceRecorder recorder(1);
  recorder.on_task_end({.trace = {},
                        .name = "x",
                        .classes = streamgate::OpClass::kRaw,
                        .priority = streamgate::Priority::kNormal,
                        .outcome = Outcome::kOk,
                        .in_worker = false,
                        .stream = 3,
                        .submitted = start,
                        .admitted = start + microseconds(5),
                        .started = start + microseconds(10),
                        .encoded = start + microseconds(30),
                        .completed = start + microseconds(100)});
  const Json trace = written(recorder);
  int seen = 0;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("name") == "x") {
      ++seen;
      EXPECT_EQ(event.at("tid"), 3);
      EXPECT_EQ(event.at("ts"), 10);
      EXPECT_EQ(event.at("dur"), 90);
    }
    if (event.at("name") == "encode") {
      ++seen;
      EXPECT_EQ(event.at("dur"), 20);
    }
  }
  EXPECT_EQ(seen, 2);
}

TEST(ChromeTrace, ATaskThatNeverStartedIsAnInstantAndWhatHadNoRoomIsCounted) {
  TraceRecorder recorder(1);
  TaskRecord refused{};
  refused.outcome = Outcome::kQueueFull;
  refused.submitted = refused.completed = TaskRecord::Time{microseconds(7)};
  recorder.on_task_end(refused);
  recorder.on_task_end(refused);
  EXPECT_EQ(recorder.left_out(), 1U);
  const Json trace = written(recorder);
  const Json& event = trace.at("traceEvents").back();
  EXPECT_EQ(event.at("ph"), "i");
  EXPECT_EQ(event.at("args").at("outcome"), "rejected");
}

}  // namespace
}  // namespace trace_example

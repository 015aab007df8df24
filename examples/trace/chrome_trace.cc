// SPDX-License-Identifier: Apache-2.0
#include "chrome_trace.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <string>

namespace trace_example {
namespace {

using Json = nlohmann::ordered_json;
using streamgate::TaskRecord;
using Time = TaskRecord::Time;

constexpr int kProcess = 1;
constexpr int kWaiting = 1'000;  ///< The track of what has no stream yet.

double microseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

class Writer {
 public:
  Writer(std::ostream& out, Time start) : out_(out), start_(start) {}

  void event(Json event) {
    event["pid"] = kProcess;
    out_ << (first_ ? "" : ",\n") << event.dump(-1, ' ', false, Json::error_handler_t::replace);
    first_ = false;
  }
  void name_track(int track, const std::string& name) {
    event({{"name", "thread_name"}, {"ph", "M"}, {"tid", track}, {"args", {{"name", name}}}});
  }
  void slice(const std::string& name, int track, Time from, Time to,
             Json arguments = Json::object()) {
    event({{"name", name},
           {"ph", "X"},
           {"ts", microseconds(from - start_)},
           {"dur", microseconds(to - from)},
           {"tid", track},
           {"args", std::move(arguments)}});
  }
  /// Many may be at once, so they are told apart by a number.
  void wait(std::size_t id, const char* phase, Time at) {
    event({{"name", "wait"},
           {"cat", "task"},
           {"ph", phase},
           {"id", id},
           {"ts", microseconds(at - start_)},
           {"tid", kWaiting}});
  }
  void instant(const std::string& name, Time at, Json arguments) {
    event({{"name", name},
           {"ph", "i"},
           {"s", "t"},
           {"ts", microseconds(at - start_)},
           {"tid", kWaiting},
           {"args", std::move(arguments)}});
  }

 private:
  std::ostream& out_;
  const Time start_;
  bool first_ = true;
};

Json arguments_of(const TaskRecord& task) {
  Json arguments = {{"outcome", to_string(task.outcome)}, {"class", to_string(task.classes)}};
  if (task.trace) arguments["traceparent"] = task.trace->to_string();
  return arguments;
}

}  // namespace

void write_chrome_trace(const TraceRecorder& recorder, std::ostream& out) {
  Time start = Time::max();
  std::set<streamgate::executor::StreamIndex> streams;
  for (std::size_t i = 0; i < recorder.kept(); ++i) {
    start = std::min(start, recorder[i].submitted);
    if (recorder[i].started != Time{}) streams.insert(recorder[i].stream);
  }
  out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  Writer writer(out, start);
  writer.name_track(kWaiting, "waiting");
  for (const auto stream : streams) {
    writer.name_track(static_cast<int>(stream), "stream " + std::to_string(stream));
  }
  for (std::size_t i = 0; i < recorder.kept(); ++i) {
    const TaskRecord& task = recorder[i];
    if (task.started == Time{}) {
      writer.instant(std::string(to_string(task.outcome)), task.completed, arguments_of(task));
      continue;
    }
    const int track = static_cast<int>(task.stream);
    writer.wait(i, "b", task.submitted);
    writer.wait(i, "e", task.started);
    writer.slice(task.name.empty() ? "task" : std::string(task.name), track, task.started,
                 task.completed, arguments_of(task));
    // Inside of it: what the thread did. The rest is the device's.
    if (task.encoded != Time{}) writer.slice("encode", track, task.started, task.encoded);
  }
  out << "\n]}\n";
}

}  // namespace trace_example

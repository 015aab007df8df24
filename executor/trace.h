// SPDX-License-Identifier: Apache-2.0
//
// Tracing: the W3C trace context that a task can carry, and the hook that is told when a task has
// ended, with the times of its stages. Spans, and where they are sent, are the service's: nothing
// of OpenTelemetry here.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/outcome.h>
#include <streamgate/policies/op_class.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace streamgate::executor {

/// Whose work a task is part of, as the header `traceparent` of W3C Trace Context says it. A plain
/// value.
///
///     auto trace = streamgate::TraceContext::parse(request.header("traceparent"));
///     auto future = executor.submit({.trace = trace}, work);  // Without one if it was not valid.
struct TraceContext {
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> parent_id{};  ///< Of the span that caused the task.
  std::uint8_t flags = 0;

  /// Nothing for what the specification (level 1, section 3.2) has receivers ignore: another form,
  /// upper case, version ff, and ids that are all zero. Of a later version the known part is taken.
  [[nodiscard]] static std::optional<TraceContext> parse(std::string_view traceparent) noexcept;
  /// The header's value, version 00.
  [[nodiscard]] std::string to_string() const;
  /// Whether the caller may have recorded its part.
  [[nodiscard]] bool sampled() const noexcept { return (flags & 1U) != 0; }

  bool operator==(const TraceContext&) const = default;
};

/// What an observer is told of one task. Times that a task did not come to are the clock's epoch:
/// one that was refused has only the first and the last, as has one that ran in a worker process.
struct TaskRecord {
  using Time = std::chrono::steady_clock::time_point;
  std::optional<TraceContext> trace{};
  std::string_view name{};  ///< As in TaskOptions: valid as long as the text there.
  policies::OpClassSet classes = policies::OpClass::kRaw;
  Priority priority{};
  Outcome outcome = Outcome::kOk;
  bool in_worker = false;  ///< It ended in a worker process, or on the way there.
  StreamIndex stream = 0;  ///< Of one that started here.
  Time submitted{};
  Time admitted{};   ///< It had its permits and its stream.
  Time started{};    ///< A thread began with it.
  Time encoded{};    ///< Its callable had returned.
  Time completed{};  ///< The device was done, or the task ended without running.
};

/// Told of tasks that have ended.
///
/// Thread-safety: called from many threads at once: those that end tasks, or give them.
/// Ownership: borrowed by the executor; must live until every task of the executor has ended, and
/// every Future::cancel and request_stop that was under way then has returned.
/// Blocking: must not; permits and streams have been given back, but the result is not yet seen by
/// those who wait for it. No lock is held. Failure: must not throw; must not call the executor.
///
///     class Spans : public streamgate::TaskObserver {
///       void on_task_end(const streamgate::TaskRecord& t) noexcept override { queue_.push(t); }
///     };
///     streamgate::Executor executor({.config = config, .observer = &spans});
class TaskObserver {
 public:
  virtual void on_task_end(const TaskRecord& task) noexcept = 0;

 protected:
  ~TaskObserver() = default;
};

/// Which tasks an observer is told of. A task of which it is not costs nothing.
enum class Observed : std::uint8_t {
  kTraced,  ///< Those that carry a TraceContext.
  kAll
};

}  // namespace streamgate::executor

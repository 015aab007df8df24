// SPDX-License-Identifier: Apache-2.0
//
// A run as a file of Chrome's trace events, which Perfetto opens: what each stream did, and how
// long each task waited before. It shows how an observer keeps its records without a lock.
#pragma once

#include <streamgate/executor.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iosfwd>
#include <vector>

namespace trace_example {

/// Keeps the records of the first tasks that end, as many as it was made for; counts the others.
///
/// Thread-safety: on_task_end from any thread; the rest when all tasks have ended.
class TraceRecorder final : public streamgate::TaskObserver {
 public:
  explicit TraceRecorder(std::size_t room) : records_(room) {}

  void on_task_end(const streamgate::TaskRecord& task) noexcept override {
    const std::size_t place = next_.fetch_add(1, std::memory_order_relaxed);
    if (place < records_.size()) records_[place] = task;
  }

  [[nodiscard]] std::size_t kept() const noexcept {
    return std::min(next_.load(), records_.size());
  }
  [[nodiscard]] std::size_t left_out() const noexcept { return next_.load() - kept(); }
  [[nodiscard]] const streamgate::TaskRecord& operator[](std::size_t i) const {
    return records_[i];
  }

 private:
  std::vector<streamgate::TaskRecord> records_;
  std::atomic<std::size_t> next_{0};
};

/// Writes JSON in the Trace Event Format: a track for each stream, with a slice for each task and
/// in it its encoding; an async slice "wait" from submission to start; an instant for a task that
/// never started. Times are microseconds since the first submission.
void write_chrome_trace(const TraceRecorder& recorder, std::ostream& out);

}  // namespace trace_example

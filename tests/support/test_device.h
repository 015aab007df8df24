// SPDX-License-Identifier: Apache-2.0
//
// A device that keeps account of what the executor does with it, and finishes its work when the
// test says so. It does no work itself.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::testing {

/// Shared by the test and the backend that its executor owns, hence by shared_ptr.
///
/// Every call that breaks the contract of Backend is kept as a violation.
class TestDevice {
 public:
  using StreamIndex = executor::StreamIndex;

  enum class Completion { kAtOnce, kWhenTold };

  static constexpr std::size_t kStreams = 64;

  // Set before the executor is made.
  Completion completion = Completion::kAtOnce;
  policies::OpClassSet default_class = policies::OpClass::kRaw;
  std::size_t max_streams = kStreams;
  bool shares_cores = true;
  executor::Provenance provenance = {.backend = "test", .device = "none"};
  std::function<void()> on_initialise;
  std::function<void(StreamIndex)> on_open;  ///< May throw.
  std::function<void()> on_bind;
  bool can_meter = false;
  /// How its memory stands; null: it does not say. Called from any thread.
  std::function<executor::DeviceMemory()> memory;

  /// What a measured task held.
  std::atomic<std::size_t> metered{0};

  // Counted.
  std::atomic<std::size_t> initialised{0};
  std::atomic<std::size_t> intra_op_threads{0};
  std::atomic<std::size_t> opened{0};
  std::atomic<std::size_t> entered{0};
  std::atomic<std::size_t> left{0};
  std::atomic<std::size_t> bound{0};
  std::atomic<std::size_t> unbound{0};
  std::atomic<std::size_t> notified{0};
  std::atomic<std::size_t> completed{0};
  std::atomic<std::size_t> synchronized{0};
  std::atomic<std::size_t> destroyed{0};

  /// All calls so far, whatever they were.
  [[nodiscard]] std::size_t calls() const {
    return initialised + opened + entered + left + bound + unbound + notified + synchronized;
  }

  [[nodiscard]] std::vector<std::string> violations() const {
    const std::lock_guard lock(mutex_);
    return violations_;
  }

  /// Streams with work on them that the device has not finished.
  [[nodiscard]] std::size_t pending() const {
    const std::lock_guard lock(mutex_);
    return pending_.size();
  }

  /// Finishes the oldest work; false when there is none. Tells the executor on this thread.
  bool complete_one() {
    executor::StreamDone* done = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (pending_.empty()) return false;
      const auto [stream, waiting] = pending_.front();
      pending_.erase(pending_.begin());
      streams_[stream].pending = false;
      done = waiting;
    }
    ++completed;
    done->on_stream_done();
    return true;
  }

  /// Waits for work to finish; false when stopped.
  bool wait_for_work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    return arrived_.wait(lock, stop, [this] { return !pending_.empty(); });
  }

 private:
  friend class TestBackend;

  struct Stream {
    bool open = false;
    bool pending = false;
    std::size_t depth = 0;
    std::thread::id thread{};
  };

  void violate(std::string text) {  // With the lock held.
    violations_.push_back(std::move(text));
  }

  mutable std::mutex mutex_;
  std::condition_variable_any arrived_;
  std::array<Stream, kStreams> streams_{};
  std::vector<std::pair<StreamIndex, executor::StreamDone*>> pending_;
  std::vector<std::string> violations_;
};

class TestBackend final : public executor::Backend {
 public:
  using StreamIndex = executor::StreamIndex;

  explicit TestBackend(std::shared_ptr<TestDevice> device) : device_(std::move(device)) {}
  ~TestBackend() override { ++device_->destroyed; }

  std::string_view name() const noexcept override { return "test"; }
  void initialise(std::size_t intra_op_threads) override {
    ++device_->initialised;
    device_->intra_op_threads = intra_op_threads;
    if (device_->on_initialise) device_->on_initialise();
  }
  executor::Provenance provenance() const override {
    if (device_->initialised == 0) return {.backend = "test"};  // As a device that is not open.
    return device_->provenance;
  }
  std::size_t max_streams() const noexcept override { return device_->max_streams; }
  policies::OpClassSet default_class() const noexcept override { return device_->default_class; }
  bool shares_cores() const noexcept override { return device_->shares_cores; }

  std::optional<executor::DeviceMemory> memory() const noexcept override {
    if (!device_->memory) return std::nullopt;
    return device_->memory();
  }
  bool can_meter() const noexcept override { return device_->can_meter; }
  bool starts_metering() noexcept override { return device_->can_meter; }
  std::size_t ends_metering() noexcept override { return device_->metered; }

  void bind_worker() noexcept override {
    ++device_->bound;
    bound_here() += 1;
    if (device_->on_bind) device_->on_bind();
  }
  void unbind_worker() noexcept override {
    ++device_->unbound;
    bound_here() -= 1;
  }

  void open_stream(StreamIndex index) override {
    {
      const std::lock_guard lock(device_->mutex_);
      if (device_->streams_[index].open) device_->violate("a stream was opened twice");
    }
    if (device_->on_open) device_->on_open(index);
    const std::lock_guard lock(device_->mutex_);
    device_->streams_[index].open = true;
    ++device_->opened;
  }

  void enter(StreamIndex index, Thread thread) noexcept override {
    const std::lock_guard lock(device_->mutex_);
    TestDevice::Stream& stream = device_->streams_[index];
    ++device_->entered;
    if (!stream.open) device_->violate("an unopened stream was entered");
    if (stream.pending) device_->violate("a stream was entered while the device worked on it");
    if (stream.depth != 0 && stream.thread != std::this_thread::get_id()) {
      device_->violate("a stream was entered by two threads");
    }
    if ((thread == Thread::kWorker) != (bound_here() > 0)) {
      device_->violate("enter was told the wrong kind of thread");
    }
    stream.thread = std::this_thread::get_id();
    ++stream.depth;
  }

  void leave(StreamIndex index, Thread) noexcept override {
    const std::lock_guard lock(device_->mutex_);
    TestDevice::Stream& stream = device_->streams_[index];
    ++device_->left;
    if (stream.depth == 0 || stream.thread != std::this_thread::get_id()) {
      device_->violate("a stream was left that was not entered here");
      return;
    }
    --stream.depth;
  }

  executor::Progress notify_when_done(StreamIndex index,
                                      executor::StreamDone& done) noexcept override {
    const std::lock_guard lock(device_->mutex_);
    TestDevice::Stream& stream = device_->streams_[index];
    ++device_->notified;
    if (!stream.open) device_->violate("notify_when_done on an unopened stream");
    if (stream.pending) device_->violate("notify_when_done on a stream that is still busy");
    if (device_->completion == TestDevice::Completion::kAtOnce || !stream.open) {
      return executor::Progress::kDone;
    }
    stream.pending = true;
    device_->pending_.emplace_back(index, &done);
    device_->arrived_.notify_all();
    return executor::Progress::kPending;
  }

  bool synchronize(StreamIndex index, std::chrono::steady_clock::time_point) noexcept override {
    const std::lock_guard lock(device_->mutex_);
    ++device_->synchronized;
    if (!device_->streams_[index].open) device_->violate("an unopened stream was waited for");
    return true;
  }

 private:
  static int& bound_here() {
    thread_local int bound = 0;
    return bound;
  }

  std::shared_ptr<TestDevice> device_;
};

/// Finishes a device's work on a thread of its own, as a driver does, until it ends.
class Driver {
 public:
  explicit Driver(std::shared_ptr<TestDevice> device)
      : device_(std::move(device)), thread_([this](const std::stop_token& stop) {
          while (device_->wait_for_work(stop)) device_->complete_one();
        }) {}

 private:
  std::shared_ptr<TestDevice> device_;
  std::jthread thread_;
};

}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// The part of the emulated device that executes command buffers: a queue of what is committed, a
// clock, and a few threads. What a buffer does, and what may go wrong while it is encoded, is not
// its business.
#pragma once

#include <streamgate/executor/backends/emulator/encoder_census.h>
#include <streamgate/executor/backends/emulator/metal.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace streamgate::executor::metal {

/// Executes command buffers: `parallel` at once, those of a stream one after the other.
///
/// Thread-safety: thread-safe. Ownership: owns its threads, and shares buffers until they have
/// completed. Blocking: the destructor, until everything committed has been executed, for which it
/// does not take its time. Failure: the constructor throws std::system_error for want of threads.
///
///     Engine engine(model.device, census, {});
///     engine.commit(buffer);
class Engine {
 public:
  Engine(const policies::FaultModel::Device& speed, EncoderCensus& census,
         std::function<void()> bind_thread);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void commit(std::shared_ptr<CommandBuffer> buffer);

 private:
  struct Running {
    Clock::time_point end;
    std::shared_ptr<CommandBuffer> buffer;
  };
  /// For a heap with the earliest on top.
  struct Later {
    bool operator()(const Running& a, const Running& b) const noexcept { return a.end > b.end; }
  };

  void work();
  void schedule(std::unique_lock<std::mutex>& lock);
  void start(std::shared_ptr<CommandBuffer> buffer);
  void finish(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] bool idle() const noexcept { return ready_.empty() && occupied_ == 0; }

  const policies::FaultModel::Device speed_;
  EncoderCensus& census_;
  const std::function<void()> bind_thread_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<CommandBuffer>> ready_;  ///< Nothing of their streams is before them.
  std::vector<Running> running_;                      ///< A heap.
  std::size_t occupied_ = 0;                          ///< Of `parallel`; running or finishing.
  std::size_t without_deadline_ = 0;                  ///< Threads that wait for something to do.
  bool stopping_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace streamgate::executor::metal

// SPDX-License-Identifier: Apache-2.0
//
// Threads that end tasks for a device whose callbacks may not call it: a callback hands over who is
// to be told and returns; a thread here tells, and may run continuations of the user's. They wait
// for no device. They know no device, either.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>

namespace streamgate::executor {

/// Tells StreamDones on threads of its own.
///
/// A continuation of the user's may wait, for another task's completion even. So before a thread
/// tells, it sees to it that another one stands by; what waits is at worst told by a new thread.
///
/// Thread-safety: thread-safe. Ownership: borrows the entries; one is free again as soon as it is
/// told. Blocking: hand_over takes a mutex, briefly, and allocates nothing. Failure: where no
/// thread can be started beyond the first, the present ones tell, one after the other. Never
/// destroyed: make it with new and leave it to the end of the process, as its threads do not end.
///
///     static auto* const completions = new Completions;
///     slot.entry.done = &task;
///     completions->await();                  // before the device may call back
///     completions->hand_over(slot.entry);    // in the device's callback
class Completions {
 public:
  /// The most threads that stand by or tell; beyond that, what comes waits.
  static constexpr std::size_t kMostThreads = 64;

  /// A place in the list of those to be told; one for each stream.
  struct Entry {
    StreamDone* done = nullptr;
    Entry* next = nullptr;
  };

  /// Starts the first thread; throws std::system_error where that cannot be. `look` is called about
  /// every `period` on one of the threads while an entry is to come: for devices that call nobody
  /// back once they are lost. It must not throw.
  Completions(std::function<void()> look, std::chrono::milliseconds period);
  ~Completions() = delete;
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  /// One more entry is to come.
  void await() noexcept;
  /// One that was to come will not.
  void forget() noexcept;
  /// It has come. REQUIRES: it was awaited, and is in no list.
  void hand_over(Entry& entry) noexcept;

  [[nodiscard]] std::size_t threads() const noexcept;

 private:
  void start();
  void run() noexcept;

  const std::function<void()> look_;
  const std::chrono::milliseconds period_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  Entry* first_ = nullptr;
  Entry* last_ = nullptr;
  std::size_t idle_ = 0;
  std::size_t threads_ = 0;
  std::size_t awaited_ = 0;
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace streamgate::executor

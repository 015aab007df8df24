// SPDX-License-Identifier: Apache-2.0
//
// The interface between the executor and one kind of device. Only the folder backends/ knows what a
// device is; the executor knows streams by index, and when they are done.
#pragma once

#include <streamgate/policies/config.h>
#include <streamgate/policies/op_class.h>
#include <streamgate/policies/provenance.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// The index of a slot in the stream pool, and of the device queue behind it.
using StreamIndex = std::size_t;

using policies::Provenance;

enum class Priority : std::uint8_t;  // task.h

/// Told, once, that the work encoded on a stream is done. Called on any thread, perhaps one of the
/// driver's: an implementation must not call the device and must not throw.
class StreamDone {
 public:
  virtual void on_stream_done() noexcept = 0;

 protected:
  ~StreamDone() = default;
};

enum class Progress : std::uint8_t { kDone, kPending };

/// The memory of a device at one moment, in bytes.
struct DeviceMemory {
  std::size_t total = 0;  ///< That this process could have at best.
  std::size_t free = 0;   ///< That it could have more now.
  std::size_t held = 0;   ///< That it has now.
};

/// One device and its streams.
///
/// Thread-safety: as said at each function; distinct streams may be used from distinct threads.
/// Ownership: the executor owns the backend and outlives every call. Blocking: only where said.
/// Failure: initialise, open_stream, require_usable and prepare throw std::runtime_error that says
/// what and the remedy; nothing else throws.
class Backend {
 public:
  virtual ~Backend() = default;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// Called once, on the thread that constructs the executor, before anything else.
  virtual void initialise(std::size_t intra_op_threads) = 0;

  /// Called after initialise; the streamgate command may ask before, where there is no executor.
  [[nodiscard]] virtual Provenance provenance() const = 0;

  /// The most streams that the device offers.
  [[nodiscard]] virtual std::size_t max_streams() const noexcept = 0;

  /// What a closure without an explicit class is treated as here.
  [[nodiscard]] virtual policies::OpClassSet default_class() const noexcept = 0;

  /// Whether tasks run on the cores of this machine, so that more of them than workers do not help.
  [[nodiscard]] virtual bool shares_cores() const noexcept = 0;

  /// Whether work is unsafe here at a width that nobody measured, so that an operator must be told
  /// when there are no limits.
  [[nodiscard]] virtual bool needs_limits() const noexcept { return !shares_cores(); }

  /// How many raw tasks at once to start from where nobody has said or measured it.
  [[nodiscard]] virtual std::size_t first_width(std::size_t threads,
                                                std::size_t intra_op_threads) const noexcept {
    static_cast<void>(intra_op_threads);
    return shares_cores() ? threads : kAnyWidth;
  }

  /// For a backend that shares the cores: tasks that start from now on have so many threads within
  /// them. Called from any thread.
  virtual void set_intra_op_threads(std::size_t threads) noexcept { static_cast<void>(threads); }

  /// The most tasks of a class at once that libtorch allows here by its own rules, whatever was
  /// measured: a width that is forbidden and survived was survived by luck.
  [[nodiscard]] virtual std::size_t widest(policies::OpClass op_class) const noexcept {
    static_cast<void>(op_class);
    return kAnyWidth;
  }
  static constexpr std::size_t kAnyWidth = std::numeric_limits<std::size_t>::max();

  /// The device's memory now; nothing where that is not known. Called from any thread, not for each
  /// task; may take tens of microseconds.
  [[nodiscard]] virtual std::optional<DeviceMemory> memory() const noexcept { return std::nullopt; }

  /// Called before and after a task, on its thread, for tasks that learn what memory they need:
  /// begins to measure, false where that cannot be done; and says the most device memory that the
  /// work in between held at a time beside what was there before it. Calls come in pairs, unless the
  /// first says no.
  [[nodiscard]] virtual bool starts_metering() noexcept { return false; }
  [[nodiscard]] virtual std::size_t ends_metering() noexcept { return 0; }
  /// Whether starts_metering can say yes.
  [[nodiscard]] virtual bool can_meter() const noexcept { return false; }

  /// Called on a worker of the arena when it joins and when it leaves.
  virtual void bind_worker() noexcept = 0;
  virtual void unbind_worker() noexcept = 0;

  /// Called at most once a stream, by the thread that holds its lease.
  virtual void open_stream(StreamIndex stream) = 0;

  /// Called before each task, by the thread that holds the lease on an opened stream and will run
  /// the task: throws std::runtime_error, which fails the task, where the device must not be used
  /// any more, as in a forked child.
  virtual void require_usable(StreamIndex stream) { static_cast<void>(stream); }

  /// Called after require_usable and before enter, by the same thread: the task's priority, for a
  /// device that has more than one.
  virtual void prepare(StreamIndex stream, Priority priority) {
    static_cast<void>(stream);
    static_cast<void>(priority);
  }

  /// Makes the stream current on the calling thread, and takes that back. `on_worker` says that
  /// bind_worker has been called on this thread. Calls come in pairs on one thread and may nest.
  enum class Thread : std::uint8_t { kWorker, kCaller };
  virtual void enter(StreamIndex stream, Thread thread) noexcept = 0;
  virtual void leave(StreamIndex stream, Thread thread) noexcept = 0;

  /// kDone: everything encoded on the stream has finished. kPending: `done` will be told, exactly
  /// once, when it has; it must live until then.
  [[nodiscard]] virtual Progress notify_when_done(StreamIndex stream,
                                                  StreamDone& done) noexcept = 0;

  /// Asked once a task when its work on the stream has ended: what the device died of, and null for
  /// one that lives. A task that ended well on a dead device has failed.
  [[nodiscard]] virtual std::exception_ptr failure(StreamIndex stream) const noexcept {
    static_cast<void>(stream);
    return nullptr;
  }

  /// Called once a task when its work on the stream has ended, before its permit of these classes
  /// goes back: for a device on which work leaves something behind that is to be cleared away.
  virtual void clear_up_after(policies::OpClassSet classes) noexcept { static_cast<void>(classes); }

  /// Waits until the stream is idle; false when the deadline came first.
  [[nodiscard]] virtual bool synchronize(
      StreamIndex stream, std::chrono::steady_clock::time_point deadline) noexcept = 0;
};

/// The backend that config.executor.backend names, with its own keys of the config. Throws
/// std::invalid_argument that names the backends of this build when there is no such one in it.
[[nodiscard]] std::unique_ptr<Backend> make_backend(const policies::Config& config);

/// The backends of this build.
[[nodiscard]] std::vector<std::string_view> backends();

}  // namespace streamgate::executor

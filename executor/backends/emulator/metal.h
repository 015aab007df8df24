// SPDX-License-Identifier: Apache-2.0
//
// Metal without Apple's hardware: a device, its streams, their lazily made command buffers and
// encoders, with Metal's rules, assertion texts and ways to die. It knows neither libtorch nor the
// executor. It is no simulation of speed: the times of the fault model are there so that encoders
// and buffers really overlap.
#pragma once

#include <streamgate/policies/fault_model.h>
#include <streamgate/policies/op_class.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::executor::metal {

class CommandBuffer;
class Device;
class EncoderCensus;
class Engine;
class Stream;

using Clock = std::chrono::steady_clock;

/// Called on a thread of the device; must not throw and must not wait for the device.
using Handler = std::function<void()>;

enum class BufferState : std::uint8_t {
  kNotEnqueued,
  kEnqueued,   ///< Has its place in its stream's order.
  kCommitted,  ///< Nothing can be added any more.
  kScheduled,  ///< The device is working on it.
  kCompleted
};

/// One operation to encode.
struct Work {
  policies::OpClassSet classes = policies::kUnknownOpClass;
  /// For messages; an operator's name. Must outlive the encode.
  std::string_view label{};
  /// The maths, called once on a thread of the device, in the order of the buffer. What it throws
  /// is the command buffer's error. Null: the caller has done the maths already.
  std::function<void()> kernel{};
  /// What a corrupting fault damages once the kernel has run, or at once without a kernel. Must
  /// stay valid until then.
  std::span<std::byte> output{};
};

/// Writes operations into a command buffer. Made by its command buffer, and owned by it.
///
/// Thread-safety: externally synchronised, by the stream's serial queue; two threads that encode
/// without it die of it, as they do on Metal. Blocking: encode takes the model's encode time of its
/// thread. Failure: by the death of the process, or as the fault model says.
///
///     stream.run_sync([&] {
///       stream.encoder().encode({.classes = OpClass::kRaw, .label = "add", .kernel = add});
///       stream.commit();
///     });
class Encoder {
 public:
  /// An encoder counts as one concurrent encoder of each class of `work` from here until its
  /// command buffer has completed: see EncoderCensus.
  void encode(Work work);
  void end_encoding();

 private:
  friend class CommandBuffer;
  explicit Encoder(CommandBuffer& buffer) noexcept : buffer_(buffer) {}
  void used_by_this_thread();

  CommandBuffer& buffer_;
  bool open_ = false;
  std::thread::id last_user_{};
  bool last_use_on_queue_ = false;
};

/// Operations that the device executes together, and what to call when it has.
///
/// Thread-safety: externally synchronised until committed; state, wait_until_completed and error
/// from any thread. Ownership: shared by its stream, or whoever asked for it, and the device, which
/// needs it until it has completed. Blocking: wait_until_completed only. Failure: misuse aborts
/// with Metal's text.
///
///     CommandBuffer& buffer = stream.command_buffer();
///     buffer.add_completed_handler([] { ... });
///     stream.encoder().encode(work);
///     stream.commit();
class CommandBuffer {
 public:
  explicit CommandBuffer(Stream& stream) noexcept : stream_(stream), encoder_(*this) {}
  CommandBuffer(const CommandBuffer&) = delete;
  CommandBuffer& operator=(const CommandBuffer&) = delete;

  [[nodiscard]] BufferState state() const noexcept {
    // Acquire: pairs with the release of completion, so that who sees kCompleted sees the results.
    return state_.load(std::memory_order_acquire);
  }
  void enqueue();
  /// Abort after commit, as Metal does.
  void add_scheduled_handler(Handler handler);
  void add_completed_handler(Handler handler);
  /// The open encoder, or a new one.
  [[nodiscard]] Encoder& encoder();
  [[nodiscard]] bool encoder_is_open() const noexcept { return encoder_.open_; }
  /// Aborts with an open encoder, and when committed before.
  void commit();
  /// False when the deadline came first. REQUIRES: committed, or another thread will.
  [[nodiscard]] bool wait_until_completed(Clock::time_point deadline) const;
  /// What a kernel threw; null when none did. REQUIRES: completed.
  [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }
  /// Whether anything was encoded into it.
  [[nodiscard]] bool empty() const noexcept { return !encoded_; }

 private:
  friend class Encoder;
  friend class EncoderCensus;
  friend class Engine;
  friend class Stream;

  struct Item {
    std::function<void()> kernel;
    std::span<std::byte> damaged;  ///< Empty unless a corrupting fault has struck.
  };
  void execute() noexcept;
  void complete() noexcept;

  Stream& stream_;
  std::atomic<BufferState> state_{BufferState::kNotEnqueued};
  bool encoded_ = false;
  std::uint8_t counted_ = 0;  ///< Classes that the census counts for it; belongs to the census.
  Encoder encoder_;
  std::vector<Item> items_;
  std::vector<Handler> scheduled_handlers_;
  std::vector<Handler> completed_handlers_;
  std::exception_ptr error_;
};

/// A serial queue with one command buffer that is being filled.
///
/// Thread-safety: as MPSStream's: run_sync from any thread; everything else on the queue, that is
/// inside run_sync. A single thread that never shares the stream gets away without it. Ownership:
/// the device's. Blocking: run_sync for its turn; synchronize to its deadline. Failure: two threads
/// that encode without the queue, and a run_sync inside itself, abort.
///
///     Stream& stream = device.stream(0);
///     stream.run_sync([&] { stream.encoder().encode(work); });
///     bool done = stream.synchronize(Clock::now() + 1s);
class Stream {
 public:
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  [[nodiscard]] std::size_t index() const noexcept { return index_; }

  /// Runs the callable on this thread as a task of the serial queue, as dispatch_sync does.
  template <typename F>
  decltype(auto) run_sync(F&& callable) {
    const Turn turn(*this);
    return std::forward<F>(callable)();
  }
  /// Whether this thread is inside run_sync of this stream.
  [[nodiscard]] bool on_queue() const noexcept;

  /// The command buffer that is being filled, made when there is none.
  [[nodiscard]] CommandBuffer& command_buffer();
  [[nodiscard]] Encoder& encoder() { return command_buffer().encoder(); }
  /// Ends the open encoder, if there is one.
  void end_encoding();
  /// Ends the open encoder and commits the command buffer, if there is one.
  void commit();
  /// Commits, on the queue, and waits until all that was committed has completed; false when the
  /// deadline came first, also the deadline of a turn on the queue. Called inside run_sync or not.
  [[nodiscard]] bool synchronize(Clock::time_point deadline);

  /// Whether something was encoded that has not completed.
  [[nodiscard]] bool busy() const noexcept;
  /// What a kernel threw since the last call; null when none did.
  [[nodiscard]] std::exception_ptr take_error() noexcept;

 private:
  friend class CommandBuffer;
  friend class Device;
  friend class Encoder;
  friend class EncoderCensus;
  friend class Engine;

  class Turn {
   public:
    explicit Turn(Stream& stream);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Stream& stream_;
  };
  /// Finds two threads inside the stream at once.
  class Inside;

  Stream(Device& device, std::size_t index) noexcept : device_(device), index_(index) {}

  /// False when the deadline came first.
  [[nodiscard]] bool enter_queue(Clock::time_point deadline);
  void leave_queue();

  Device& device_;
  const std::size_t index_;
  // Not a std::timed_mutex, whose waits until a time GCC 12's ThreadSanitizer does not know.
  std::mutex queue_mutex_;
  std::condition_variable queue_free_;
  bool queue_taken_ = false;  ///< Under queue_mutex_.
  std::atomic<std::thread::id> queue_owner_{};
  std::atomic<std::thread::id> inside_{};
  std::shared_ptr<CommandBuffer> filling_;
  std::shared_ptr<CommandBuffer> last_committed_;

  mutable std::mutex completion_mutex_;
  mutable std::condition_variable completed_;
  std::exception_ptr error_;  ///< Under completion_mutex_.

  /// Belong to the engine's lock: committed buffers wait for the one before them.
  std::deque<std::shared_ptr<CommandBuffer>> waiting_;
  bool executing_ = false;
  /// Belong to the census's lock: unfinished buffers of each class.
  std::array<std::uint32_t, policies::kOpClasses> unfinished_{};
};

/// The emulated device: its streams, the threads that execute command buffers, and its faults.
///
/// Executes up to the model's `parallel` command buffers at once, those of one stream in order.
/// Each takes the model's execute time without using a core, then its kernels run. Thread-safety:
/// thread-safe. Ownership: owns streams and threads. Blocking: the destructor executes what is
/// committed, at once, and joins; what hangs on a thread of the caller's hangs there. Failure: use
/// before initialise, and initialise on another than the main thread, abort.
///
///     Device device(policies::load_fault_model("seeds-nograph.toml"));
///     device.initialise();
///     device.stream(3).run_sync([&] { device.stream(3).encoder().encode(work); });
///     bool done = device.stream(3).synchronize(Clock::now() + 1s);
class Device {
 public:
  /// `bind_thread` is called on each of the device's threads before it executes anything.
  explicit Device(policies::FaultModel model, std::function<void()> bind_thread = {});
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// On the process's main thread, before any other use; again is harmless, on any thread.
  void initialise();
  [[nodiscard]] bool initialised() const noexcept;

  [[nodiscard]] const policies::FaultModel& model() const noexcept { return model_; }
  [[nodiscard]] std::size_t streams() const noexcept { return streams_.size(); }
  /// REQUIRES: index < streams().
  [[nodiscard]] Stream& stream(std::size_t index) noexcept { return *streams_[index]; }

  /// Streams that count as concurrent encoders of a class at this moment, and the most so far.
  [[nodiscard]] std::size_t encoders(policies::OpClass op_class) const noexcept;
  [[nodiscard]] std::size_t most_encoders(policies::OpClass op_class) const noexcept;

 private:
  friend class CommandBuffer;
  friend class Encoder;
  friend class Stream;

  void require_initialised() const;

  const policies::FaultModel model_;
  const std::function<void()> bind_thread_;
  std::mutex initialise_mutex_;
  std::atomic<bool> initialised_{false};
  std::vector<std::unique_ptr<Stream>> streams_;
  std::unique_ptr<EncoderCensus> census_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace streamgate::executor::metal

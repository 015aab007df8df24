// SPDX-License-Identifier: Apache-2.0
//
// The MPS backend, in plain C++: libtorch's streams by index from a table of our own, one owner
// each, and the device's own word when one is done. What differs from tier to tier is in
// internal/mps_libtorch.h and nowhere else. It has run on stand-ins of libtorch's interface
// (tests/mps), not on Apple's hardware yet: a sentence here that says what libtorch or Metal does
// comes from their sources and documents.
//
// Three things that plain C++ must do by hand:
// - Everything that ends an encoder, commits or synchronises is done inside the stream's serial
//   queue, by dispatch_sync_f: the check-then-act in commandBuffer() and commandEncoder() races
//   otherwise (facts.md 1.1, seed 000).
// - Completion is a completed handler on the command buffer of the task's own stream, added by a
//   message, as MPSStream::addCompletedHandler takes a block and cannot be linked from here. Not
//   the events of libtorch's hooks, though they can be called: their pool makes them on the default
//   stream (MPSEvent.h, 2.6), so a lease would end before its own stream is drained; and someone
//   would have to poll them. Not MPSStream::synchronize and a wait, which can hang for ever
//   (pytorch#144634).
// - The handler is a block, laid out as the block ABI of the platform says, since only Objective-C
//   has a syntax for it.
#include <streamgate/executor/backends/mps.h>

#include <streamgate/executor/internal/torch_library.h>

#include <stdexcept>
#include <string>

#if STREAMGATE_MPS_TIER != 0
#include <streamgate/executor/internal/mps_libtorch.h>

#include <objc/message.h>
#include <objc/runtime.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>

extern "C" {
// In the runtime of every Objective-C program, but in no public header.
void* objc_autoreleasePoolPush();
void objc_autoreleasePoolPop(void* pool);
extern void* _NSConcreteStackBlock[32];
}
#endif

namespace streamgate::executor {

MpsTier mps_tier() noexcept { return static_cast<MpsTier>(STREAMGATE_MPS_TIER); }

namespace {

/// Without a call of the device, so that it may be asked at any time.
Provenance mps_provenance() {
  return {.backend = "mps",
          .libtorch = loaded_torch_version(),
          .device = cpu_model() + "; MPS streams: " + std::string(to_string(mps_tier())),
          .os = operating_system()};
}

#if STREAMGATE_MPS_TIER != 0

// ---- one stream ----

/// A stream and who waits for it. Lives until the process ends: the device may still tell a handler
/// when a wait has long given up.
struct Slot {
  libtorch::Stream* stream = nullptr;  ///< Under the table's mutex until somebody owns the slot.
  bool owned = false;                  ///< Under the table's mutex.
  /// Its owner is gone, and the device was not done with it then. Under the table's mutex.
  bool abandoned = false;

  // Of the thread that is between enter and leave.
  void* pool = nullptr;
  libtorch::Stream* before = nullptr;

  /// libtorch threw when it should have committed: nobody knows what the stream still does.
  std::atomic<bool> broken{false};

  /// Of the device, which tells that a task is done, and of the thread that asked for it: so counted,
  /// as the next owner may come in only when that thread is out of the stream's queue.
  std::atomic<unsigned> arrivals{0};

  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t requested = 0;  ///< Completions asked for; the device tells them in this order.
  std::uint64_t completed = 0;

  /// Whether the other one of the two has arrived before.
  [[nodiscard]] bool arrive_last() noexcept {
    // Acquire and release: the second sees what the first did.
    return arrivals.fetch_add(1, std::memory_order_acq_rel) % 2 == 1;
  }
  [[nodiscard]] bool drained() {
    const std::lock_guard lock(mutex);
    return requested == completed;
  }
  void complete() {
    const std::lock_guard lock(mutex);
    ++completed;
    changed.notify_all();
  }
  [[nodiscard]] bool wait_drained(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex);
    const auto is_drained = [this] { return requested == completed; };
    // The latest time point overflows where a library converts it to another clock.
    if (deadline == std::chrono::steady_clock::time_point::max()) {
      changed.wait(lock, is_drained);
      return true;
    }
    return changed.wait_until(lock, deadline, is_drained);
  }
};

/// A block of the platform's ABI ("Block Implementation Specification" of Clang) that tells a slot,
/// and then whoever is given. It is copied bit by bit when the handler is added, so it may lie on
/// the stack and owns nothing.
struct CompletedHandler {
  struct Descriptor {
    unsigned long reserved;
    unsigned long size;
    const char* signature;
  };
  static constexpr int kHasSignature = 1 << 30;
  static const Descriptor kDescriptor;

  void* isa = static_cast<void*>(_NSConcreteStackBlock);
  int flags = kHasSignature;
  int reserved = 0;
  void (*invoke)(CompletedHandler* self, void* command_buffer) = &CompletedHandler::call;
  const Descriptor* descriptor = &kDescriptor;
  Slot* slot = nullptr;
  StreamDone* done = nullptr;

  /// On a thread of Metal's.
  static void call(CompletedHandler* self, void*) {
    // First the slot, as the next owner of the stream may come from within on_stream_done.
    StreamDone* const done = self->done;
    Slot& slot = *self->slot;
    slot.complete();
    if (done != nullptr && slot.arrive_last()) done->on_stream_done();
  }
};
// Nothing is returned; 16 bytes of arguments: the block, at 0, and an object, at 8.
const CompletedHandler::Descriptor CompletedHandler::kDescriptor = {0, sizeof(CompletedHandler),
                                                                    "v16@?0@8"};

/// What one turn on a stream's queue is to do, and how it went.
struct CommitRequest {
  Slot& slot;
  StreamDone* done;
  bool handler_added = false;

  /// Commits what is encoded, and adds the handler that says when that is done.
  static void call(void* context) noexcept {
    auto& request = *static_cast<CommitRequest*>(context);
    Slot& slot = request.slot;
    void* const pool = objc_autoreleasePoolPush();
    try {
      void* const buffer = libtorch::command_buffer(*slot.stream);
      // A message to nothing does nothing: nobody would ever be told.
      if (buffer == nullptr) throw std::runtime_error("it has no command buffer");
      const CompletedHandler handler{.slot = &slot, .done = request.done};
      {
        const std::lock_guard lock(slot.mutex);
        ++slot.requested;
      }
      // From here on somebody will be told, whatever libtorch throws: the lease goes on until then.
      request.handler_added = true;
      reinterpret_cast<void (*)(void*, SEL, const void*)>(&objc_msgSend)(
          buffer, sel_registerName("addCompletedHandler:"), &handler);
      libtorch::commit(*slot.stream);
    } catch (const std::exception& error) {
      slot.broken = true;
      std::fprintf(stderr, "streamgate: libtorch could not commit an MPS stream: %s\n",
                   error.what());
    } catch (...) {
      slot.broken = true;
    }
    objc_autoreleasePoolPop(pool);
  }
};

/// False when nobody will be told.
bool commit_and_tell(Slot& slot, StreamDone* done) noexcept {
  CommitRequest request{.slot = slot, .done = done};
  dispatch_sync_f(libtorch::queue(*slot.stream), &request, &CommitRequest::call);
  return request.handler_added;
}

// ---- the process's streams ----

/// Which stream is whose, for all executors of the process, and whether the device may be called.
///
/// Thread-safe. Never destroyed, since destructors that run after main must not find it gone, nor
/// may anything call Metal then (pytorch#188812).
class Streams {
 public:
  static Streams& instance() {
    static auto* const streams = new Streams;
    return *streams;
  }

  /// Why the device must not be called; null when it may.
  [[nodiscard]] const char* refusal() const noexcept {
    if (exiting_.load(std::memory_order_relaxed)) {
      return "streamgate: main has returned, after which MPS must not be called (pytorch#188812). "
             "Remedy: drain or destroy executors before main returns";
    }
    // Set in the child by pthread_atfork, as asking for the process's number is a system call, and
    // this is asked four times a task. Relaxed: a forked child has one thread, which has set it.
    if (forked_.load(std::memory_order_relaxed)) {
      return "streamgate: this process was forked from one that uses MPS, where Metal does not "
             "work (pytorch#178037). Remedy: start processes by posix_spawn or exec, never by fork "
             "alone";
    }
    return nullptr;
  }

  void initialise(bool force_graph_path) {
    if (const char* const why = refusal()) throw std::runtime_error(why);
    const std::lock_guard lock(mutex_);
    if (initialised_) {
      if (force_graph_path && !forced_graph_path_) {
        throw std::runtime_error(
            "streamgate: mps.force_graph_path = true came too late: libtorch reads "
            "MPS_FORCE_GRAPH_PATH once, and another executor has initialised it without. Remedy: "
            "the same value for all executors of a process");
      }
      return;
    }
    // Before libtorch looks, which is at its first use.
    if (force_graph_path) setenv("MPS_FORCE_GRAPH_PATH", "1", 1);
    // Fork B: an error instead of a wait without end when others hold all its slots.
    setenv("MPS_STREAM_POOL_WAIT_TIMEOUT_MS", "0", 0);
    if (!libtorch::hooks().hasMPS()) {
      throw std::runtime_error(
          "streamgate: libtorch finds no MPS device. Remedy: a Mac with Apple silicon and macOS 13 "
          "or later, or executor.backend = \"cpu\" or \"emulator\"");
    }
    try {
      libtorch::initialise(libtorch::hooks());
    } catch (const std::exception& error) {
      throw std::runtime_error("streamgate: libtorch could not initialise the MPS device: " +
                               std::string(error.what()));
    }
    // Each of these makes a part of libtorch's MPS that must be made on this thread, before others
    // use it (facts.md 1.1, seed 002): the allocator, the default stream and its queue.
    static_cast<void>(libtorch::hooks().getCurrentAllocatedMemory());
    first_.stream = libtorch::default_stream();
    if (!commit_and_tell(first_, nullptr)) {
      throw std::runtime_error("streamgate: libtorch could not commit to the MPS device");
    }
    forced_graph_path_ = std::getenv("MPS_FORCE_GRAPH_PATH") != nullptr;
    if (pthread_atfork(nullptr, nullptr, [] { instance().forked_ = true; }) != 0) {
      throw std::runtime_error("streamgate: no memory to be told of forks");
    }
    initialised_ = true;
  }

  /// Whether the device has answered to initialise.
  [[nodiscard]] bool answers(std::chrono::steady_clock::time_point deadline) {
    return first_.wait_drained(deadline);
  }

  /// The caller's until give_back. Stream 0 of an executor is the first of the table, where that is
  /// the default stream.
  [[nodiscard]] Slot& take(StreamIndex index) {
    if (const char* const why = refusal()) throw std::runtime_error(why);
    // Not sooner: what is registered last runs first, so an executor with static storage duration,
    // made before, still finds this set in its destructor.
    std::call_once(registered_, [] { std::atexit([] { instance().exiting_ = true; }); });
    const std::lock_guard lock(mutex_);
    const std::size_t first = libtorch::kFirstIsDefault && index != 0 ? 1 : 0;
    const std::size_t end = libtorch::kFirstIsDefault && index == 0 ? 1 : slots_.size();
    for (std::size_t position = first; position < end; ++position) {
      Slot& slot = slots_[position];
      if (slot.owned && !(slot.abandoned && slot.drained())) continue;
      if (slot.stream == nullptr) slot.stream = open(position);
      if (slot.stream == nullptr) break;
      slot.owned = true;
      slot.abandoned = false;
      return slot;
    }
    throw std::runtime_error(kNoneLeft);
  }

  void give_back(Slot& slot) noexcept {
    // A stream of which nobody knows what it does is nobody's from now on.
    if (slot.broken || refusal() != nullptr) return;
    const std::lock_guard lock(mutex_);
    if (!slot.drained()) {
      slot.abandoned = true;
      return;
    }
    if (libtorch::kGivesBack) {
      libtorch::give_back(*slot.stream);
      slot.stream = nullptr;
    }
    slot.owned = false;
  }

 private:
  [[nodiscard]] libtorch::Stream* open(std::size_t position) const {
    if (libtorch::kFirstIsDefault && position == 0) return libtorch::default_stream();
    try {
      return libtorch::open(position, [this](const libtorch::Stream& stream) {
        return std::any_of(slots_.begin(), slots_.end(),
                           [&](const Slot& slot) { return slot.stream == &stream; });
      });
    } catch (const std::exception& error) {
      throw std::runtime_error(kNoneLeft + std::string(". libtorch says: ") + error.what());
    }
  }

  static constexpr const char* kNoneLeft =
      "streamgate: libtorch has no MPS stream left that nobody else owns. Remedy: lower "
      "executor.streams, or keep one executor in a process";

  std::atomic<bool> forked_{false};  ///< This is a child of the process that initialised.
  std::atomic<bool> exiting_{false};
  std::once_flag registered_;
  std::mutex mutex_;
  bool initialised_ = false;
  bool forced_graph_path_ = false;
  Slot first_;
  std::array<Slot, libtorch::kStreams> slots_;
};

// ---- the backend ----

constexpr std::chrono::seconds kPatience{30};  // For the device's first answer.

class MpsBackend final : public Backend {
 public:
  explicit MpsBackend(bool force_graph_path) : force_graph_path_(force_graph_path) {}
  ~MpsBackend() override {
    for (Slot* const slot : slots_) {
      if (slot != nullptr) Streams::instance().give_back(*slot);
    }
  }
  MpsBackend(const MpsBackend&) = delete;
  MpsBackend& operator=(const MpsBackend&) = delete;

  std::string_view name() const noexcept override { return "mps"; }

  void initialise(std::size_t) override {
    Streams::instance().initialise(force_graph_path_);
    if (!Streams::instance().answers(std::chrono::steady_clock::now() + kPatience)) {
      throw std::runtime_error(
          "streamgate: the MPS device has not finished an empty command buffer within 30 s. "
          "Remedy: end other processes that use it, or restart the machine");
    }
  }

  Provenance provenance() const override { return mps_provenance(); }
  std::size_t max_streams() const noexcept override { return libtorch::kStreams; }
  policies::OpClassSet default_class() const noexcept override { return policies::kUnknownOpClass; }
  bool shares_cores() const noexcept override { return false; }
  void bind_worker() noexcept override {}
  void unbind_worker() noexcept override {}

  void open_stream(StreamIndex index) override { slots_[index] = &Streams::instance().take(index); }

  void require_usable(StreamIndex index) override {
    if (const char* const why = Streams::instance().refusal()) throw std::runtime_error(why);
    if (slots_[index] != nullptr && slots_[index]->broken) {
      throw std::runtime_error("streamgate: MPS stream " + std::to_string(index) +
                               " is out of use, as libtorch could not commit it. Remedy: restart "
                               "the process");
    }
  }

  void enter(StreamIndex index, Thread) noexcept override {
    Slot& slot = *slots_[index];
    slot.pool = nullptr;
    if (Streams::instance().refusal() != nullptr) return;
    slot.pool = objc_autoreleasePoolPush();
    slot.before = libtorch::make_current(*slot.stream);
  }

  void leave(StreamIndex index, Thread) noexcept override {
    Slot& slot = *slots_[index];
    if (slot.pool == nullptr || Streams::instance().refusal() != nullptr) return;
    // With the stream still current, for what is released here.
    objc_autoreleasePoolPop(slot.pool);
    libtorch::make_current_again(slot.before);
  }

  Progress notify_when_done(StreamIndex index, StreamDone& done) noexcept override {
    if (Streams::instance().refusal() != nullptr) return Progress::kDone;
    Slot& slot = *slots_[index];
    if (!commit_and_tell(slot, &done)) return Progress::kDone;
    return slot.arrive_last() ? Progress::kDone : Progress::kPending;
  }

  bool synchronize(StreamIndex index,
                   std::chrono::steady_clock::time_point deadline) noexcept override {
    if (Streams::instance().refusal() != nullptr) return false;
    Slot& slot = *slots_[index];
    return commit_and_tell(slot, nullptr) && slot.wait_drained(deadline);
  }

 private:
  bool force_graph_path_;
  std::array<Slot*, libtorch::kStreams> slots_{};  ///< Null: not opened.
};

#else  // STREAMGATE_MPS_TIER == 0

/// Says why there is no MPS; nothing else is ever called.
class MpsBackend final : public Backend {
 public:
  explicit MpsBackend(bool) {}
  std::string_view name() const noexcept override { return "mps"; }
  void initialise(std::size_t) override { refuse(); }
  Provenance provenance() const override { return mps_provenance(); }
  std::size_t max_streams() const noexcept override { return 1; }
  policies::OpClassSet default_class() const noexcept override { return policies::kUnknownOpClass; }
  bool shares_cores() const noexcept override { return false; }
  void bind_worker() noexcept override {}
  void unbind_worker() noexcept override {}
  void open_stream(StreamIndex) override { refuse(); }
  void enter(StreamIndex, Thread) noexcept override {}
  void leave(StreamIndex, Thread) noexcept override {}
  Progress notify_when_done(StreamIndex, StreamDone&) noexcept override { return Progress::kDone; }
  bool synchronize(StreamIndex, std::chrono::steady_clock::time_point) noexcept override {
    return false;
  }

 private:
  [[noreturn]] static void refuse() {
    throw std::runtime_error(
        "streamgate: this build is for a libtorch without MPS. Remedy: build on a Mac, with a "
        "libtorch that has it (STREAMGATE_WITH_MPS), or executor.backend = \"cpu\" or "
        "\"emulator\"");
  }
};

#endif

}  // namespace

std::unique_ptr<Backend> make_mps_backend(const policies::Config& config) {
  return std::make_unique<MpsBackend>(config.mps.force_graph_path);
}

}  // namespace streamgate::executor

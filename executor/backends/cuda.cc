// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend, in plain C++ on libtorch's API: which stream a task runs on, and how its end is
// learned without a thread that waits for the device.
//
// - Streams are CUDA's own, handed to libtorch as external ones: libtorch's pool gives its 32 to
//   everybody in turn, so no index of it has one owner.
// - A caller of run waits on its own thread anyway: it asks the stream, which is faster than any
//   callback by tens of microseconds. A worker never waits: a host function tells when the stream
//   has come so far. A host function may not call CUDA, so that it only hands over; and it is not
//   called at all on a lost device, so that somebody looks now and then.
#include <streamgate/executor/backends/cuda.h>

#include <streamgate/executor/internal/completions.h>
#include <streamgate/executor/internal/cuda_device.h>
#include <streamgate/executor/internal/memory_meter.h>
#include <streamgate/executor/internal/pause.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/stream_pool.h>
#include <streamgate/executor/task.h>

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace streamgate::executor {
namespace {

using c10::cuda::CUDAStream;
using cuda::Process;
using Time = std::chrono::steady_clock;

/// How long a caller of run asks before it sleeps. A call that takes longer does not notice the
/// tens of microseconds that being woken costs.
constexpr std::chrono::milliseconds kPolling{1};
/// How often somebody looks whether a device that owes callbacks still lives.
constexpr std::chrono::milliseconds kLooking{100};

/// A slot's streams and who waits for them. Used by the one who holds the slot's lease.
struct Slot {
  std::array<std::optional<cuda::Queue>, cuda::kLevels> queues{};
  std::size_t level = 0;  ///< Of the task that runs.
  Backend::Thread thread = Backend::Thread::kWorker;

  // Between enter and leave.
  bool entered = false;
  c10::DeviceIndex device_before = 0;
  std::optional<CUDAStream> stream_before{};

  /// The stream for which the device owes a call, or null. Whoever takes it out hands the entry
  /// over.
  std::atomic<cudaStream_t> owed{nullptr};
  Completions::Entry entry{};

  [[nodiscard]] cudaStream_t stream() const { return queues[level]->stream; }
};

/// The slots of all CUDA backends of this process, for the look after lost devices.
class Watched {
 public:
  static Watched& instance() {
    static auto* const watched = new Watched;
    return *watched;
  }
  using Slots = std::array<Slot, StreamPool::kMaxSlots>;

  void add(Slots* slots) {
    const std::lock_guard lock(mutex_);
    all_.push_back(slots);
  }
  void remove(Slots* slots) {
    const std::lock_guard lock(mutex_);
    all_.erase(std::find(all_.begin(), all_.end(), slots));
  }
  void look() noexcept;

 private:
  std::mutex mutex_;
  std::vector<Slots*> all_;
};

Completions& completions() {
  static auto* const completions = new Completions([] { Watched::instance().look(); }, kLooking);
  return *completions;
}

void Watched::look() noexcept {
  if (Process::instance().refusal() != nullptr) return;
  const std::lock_guard lock(mutex_);
  for (Slots* const slots : all_) {
    for (Slot& slot : *slots) {
      const cudaStream_t stream = slot.owed.load();
      if (stream == nullptr) continue;
      const cudaError_t state = cudaStreamQuery(stream);
      if (state != cudaSuccess && state != cudaErrorNotReady) Process::instance().lose(state);
      if (Process::instance().lost() && slot.owed.exchange(nullptr) != nullptr) {
        completions().hand_over(slot.entry);
      }
    }
  }
}

/// A host function: on a thread of the driver's, which must not call CUDA.
void CUDART_CB on_done(void* context) {
  Slot& slot = *static_cast<Slot*>(context);
  if (slot.owed.exchange(nullptr) != nullptr) completions().hand_over(slot.entry);
}

/// A task that left a capture open: the stream must take other work again.
void end_capture_left_open(cudaStream_t stream) noexcept {
  cudaGraph_t graph = nullptr;
  static_cast<void>(cudaStreamEndCapture(stream, &graph));
  if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
  static_cast<void>(cudaGetLastError());
}

/// Whether the stream is idle, or will never be anything else as the device is lost.
bool ask(cudaStream_t stream) noexcept {
  const cudaError_t state = cudaStreamQuery(stream);
  switch (state) {
    case cudaSuccess:
      return true;
    case cudaErrorNotReady:
      return false;
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
      end_capture_left_open(stream);
      return cudaStreamQuery(stream) == cudaSuccess;
    default:
      Process::instance().lose(state);
      return true;
  }
}

bool ask_until(cudaStream_t stream, Time::time_point deadline) noexcept {
  Time::time_point now = Time::now();
  const Time::time_point begin = now;
  while (!ask(stream)) {
    if (now >= deadline) return false;
    // Each question takes a lock that those who launch need, too.
    const Time::time_point again = now + cuda::kBetweenQuestions;
    for (; now < again; now = Time::now()) pause();
    // Where more threads wait than there are cores, another one may be about to launch.
    if (now - begin > cuda::kBeforeYield) std::this_thread::yield();
  }
  return true;
}

/// By what is urgent for whom: three steps of ours for the device's, of which 0 is what others
/// have.
std::size_t level_of(Priority priority) {
  return priority == Priority::kHighest ? 2 : priority == Priority::kHigh ? 1 : 0;
}

/// What libtorch keeps of graphs that are gone: each has a pool of memory of its own, which goes
/// back to the device only when libtorch finds no more for itself. CUDA needs some for every new
/// graph and then has none: a service that captures and destroys graphs of its own ran out of 80
/// GiB in two minutes (docs/cuda.md). So whoever has just held the permit of class graph, when
/// nobody captures, has libtorch give back what it keeps, whenever that has grown by a good part of
/// the device. Used by the one who holds the permit.
class KeptMemory {
 public:
  void look(c10::DeviceIndex device) noexcept {
    const std::size_t task = tasks_++;
    if (task % kBetweenLooks != 0 || Process::instance().refusal() != nullptr ||
        Process::instance().lost()) {
      return;
    }
    try {
      if (most_ == 0) {
        most_ = cuda_memory(static_cast<std::size_t>(device)).total / 4;
        step_ = most_ / 8;
      }
      if (kept(device) < after_ + step_) return;
      c10::cuda::CUDACachingAllocator::emptyCache();
      after_ = kept(device);
      // What is back at once was no graph's, but is in use by turns: to give it back costs time.
      const bool at_once = task - last_ < kSoon;
      step_ = at_once ? std::min(2 * step_, most_) : most_ / 8;
      last_ = task;
    } catch (const std::exception&) {
      // A device that is being lost; whoever uses it next says so.
    }
  }

 private:
  static constexpr std::size_t kBetweenLooks = 16;
  static constexpr std::size_t kSoon = 256;  ///< Tasks of class graph.

  [[nodiscard]] static std::size_t kept(c10::DeviceIndex device) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device);
    // The first of each is the sum over the allocator's pools.
    return static_cast<std::size_t>(stats.reserved_bytes[0].current -
                                    stats.allocated_bytes[0].current);
  }

  std::size_t tasks_ = 0;
  std::size_t most_ = 0;   ///< That it may grow before anything is given back.
  std::size_t step_ = 0;   ///< That it may grow now.
  std::size_t after_ = 0;  ///< What was kept after the last time, all of it in use by somebody.
  std::size_t last_ = 0;   ///< The task after which that was.
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(std::size_t device) : device_(static_cast<c10::DeviceIndex>(device)) {}
  ~CudaBackend() override {
    if (!watched_) return;
    Watched::instance().remove(slots_);
    for (const Slot& slot : *slots_) {
      for (const auto& queue : slot.queues) {
        if (queue) Process::instance().give_back(*queue);
      }
    }
    // Of a lost device nobody knows whom it still calls.
    if (!Process::instance().lost()) delete slots_;
  }
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  std::string_view name() const noexcept override { return "cuda"; }

  void initialise(std::size_t) override {
    Process::instance().initialise(device_);
    static_cast<void>(completions());
    Watched::instance().add(slots_);
    watched_ = true;
  }

  Provenance provenance() const override {
    Provenance here{
        .backend = "cuda", .libtorch = loaded_torch_identity(), .os = operating_system()};
    if (Process::instance().refusal() != nullptr) return here;
    here.device = cuda::device_name(device_);
    here.driver = cuda::driver_name();
    return here;
  }

  std::size_t max_streams() const noexcept override { return StreamPool::kMaxSlots; }
  /// Eager work is safe at any width, by libtorch's word and as measured (facts.md 2). What
  /// captures must say so: its class is graph.
  policies::OpClassSet default_class() const noexcept override { return policies::OpClass::kRaw; }
  bool shares_cores() const noexcept override { return false; }
  bool needs_limits() const noexcept override { return false; }
  /// A caller that waits for the device keeps a core at it, so that more of them than cores are too
  /// many; but a permit goes from one caller to the next, who sleeps, and with one for each core
  /// the device idles until that one is awake. Replays a second of 64 clients on 16 cores, by the
  /// limit: 16: 123,586; 24: 139,152; 32: 146,734; 48: 141,007 (docs/cuda.md).
  std::size_t first_width(std::size_t, std::size_t) const noexcept override {
    return 2 * std::max<std::size_t>(1, std::thread::hardware_concurrency());
  }
  /// libtorch's rule: one capture at a time in a process. Two have been seen to survive, and to
  /// die.
  std::size_t widest(policies::OpClass op_class) const noexcept override {
    return op_class == policies::OpClass::kGraph ? 1 : kAnyWidth;
  }

  std::optional<DeviceMemory> memory() const noexcept override {
    if (Process::instance().refusal() != nullptr || Process::instance().lost()) return std::nullopt;
    return cuda::memory_of(device_);
  }
  bool starts_metering() noexcept override {
    return start_memory_meter(static_cast<int>(c10::DeviceType::CUDA), device_);
  }
  std::size_t ends_metering() noexcept override { return end_memory_meter(); }
  bool can_meter() const noexcept override { return true; }

  void bind_worker() noexcept override {}
  void unbind_worker() noexcept override {}

  void open_stream(StreamIndex index) override { open((*slots_)[index], 0); }

  void require_usable(StreamIndex) override {
    if (const char* const why = Process::instance().refusal()) throw std::runtime_error(why);
    if (Process::instance().lost()) std::rethrow_exception(Process::instance().loss());
  }

  void prepare(StreamIndex index, Priority priority) override {
    Slot& slot = (*slots_)[index];
    const std::size_t level = level_of(priority);
    if (!slot.queues[level]) open(slot, level);
    slot.level = level;
  }

  void enter(StreamIndex index, Thread thread) noexcept override {
    Slot& slot = (*slots_)[index];
    slot.thread = thread;
    slot.entered = Process::instance().refusal() == nullptr &&
                   c10::cuda::GetDevice(&slot.device_before) == cudaSuccess;
    if (!slot.entered) return;
    if (slot.device_before != device_) static_cast<void>(c10::cuda::SetDevice(device_));
    slot.stream_before = c10::cuda::getCurrentCUDAStream(device_);
    c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(slot.stream(), device_));
  }

  void leave(StreamIndex index, Thread) noexcept override {
    Slot& slot = (*slots_)[index];
    if (!slot.entered || Process::instance().refusal() != nullptr) return;
    // The task may have gone to another device and stayed there.
    c10::cuda::setCurrentCUDAStream(*slot.stream_before);
    static_cast<void>(c10::cuda::SetDevice(slot.device_before));
  }

  Progress notify_when_done(StreamIndex index, StreamDone& done) noexcept override {
    Slot& slot = (*slots_)[index];
    if (!slot.entered || Process::instance().refusal() != nullptr) return Progress::kDone;
    const cudaStream_t stream = slot.stream();
    const bool idle =
        slot.thread == Thread::kCaller ? ask_until(stream, Time::now() + kPolling) : ask(stream);
    if (idle) return Progress::kDone;
    slot.entry.done = &done;
    // First: whoever takes the debt out hands over what was awaited.
    completions().await();
    slot.owed.store(stream);
    const cudaError_t error = cudaLaunchHostFunc(stream, &on_done, &slot);
    // Nothing of the slot may be touched from here on: it may be another task's already.
    if (error == cudaSuccess) return Progress::kPending;
    Process::instance().lose(error);
    // Unless somebody has looked meanwhile.
    if (slot.owed.exchange(nullptr) == nullptr) return Progress::kPending;
    completions().forget();
    return Progress::kDone;
  }

  std::exception_ptr failure(StreamIndex) const noexcept override {
    return Process::instance().loss();
  }

  void clear_up_after(policies::OpClassSet classes) noexcept override {
    if (classes.contains(policies::OpClass::kGraph)) kept_.look(device_);
  }

  bool synchronize(StreamIndex index,
                   std::chrono::steady_clock::time_point deadline) noexcept override {
    if (Process::instance().refusal() != nullptr) return false;
    return ask_until((*slots_)[index].stream(), deadline);
  }

 private:
  void open(Slot& slot, std::size_t level) const {
    c10::DeviceIndex before = 0;
    const bool known = c10::cuda::GetDevice(&before) == cudaSuccess;
    static_cast<void>(c10::cuda::SetDevice(device_));
    slot.queues[level] = Process::instance().take(device_, level);
    if (known) static_cast<void>(c10::cuda::SetDevice(before));
  }

  const c10::DeviceIndex device_;
  KeptMemory kept_;
  Watched::Slots* const slots_ = new Watched::Slots;
  bool watched_ = false;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const policies::Config& config) {
  return std::make_unique<CudaBackend>(config.cuda.device);
}

CudaMemory cuda_memory(std::size_t device) {
  if (const char* const why = Process::instance().refusal()) throw std::runtime_error(why);
  const auto index = static_cast<c10::DeviceIndex>(device);
  CudaMemory memory;
  c10::DeviceIndex before = 0;
  const bool known = c10::cuda::GetDevice(&before) == cudaSuccess;
  static_cast<void>(c10::cuda::SetDevice(index));
  const cudaError_t error = cudaMemGetInfo(&memory.free, &memory.total);
  if (known) static_cast<void>(c10::cuda::SetDevice(before));
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw std::runtime_error("streamgate: CUDA device " + std::to_string(device) +
                             " does not tell its memory: " + cuda::words_of(error));
  }
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(index);
  // The first of each is the sum over the allocator's pools.
  memory.allocated = static_cast<std::size_t>(stats.allocated_bytes[0].current);
  memory.reserved = static_cast<std::size_t>(stats.reserved_bytes[0].current);
  return memory;
}

void use_on_current_stream(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return;
  tensor.record_stream(c10::cuda::getCurrentCUDAStream(tensor.device().index()).unwrap());
}

}  // namespace streamgate::executor

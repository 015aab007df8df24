// SPDX-License-Identifier: Apache-2.0
//
// The CPU backend: keeps libtorch's intra-op threads of every thread that runs a task at that
// task's share of the cores. Without that, threads multiply with intra-op threads, and throughput
// falls by up to 200 times (facts.md 3: 28,540 to 143 linears a second on 2 cores, libtorch 1.13).
#include <streamgate/executor/backends/cpu.h>

#include <streamgate/executor/internal/machine_memory.h>
#include <streamgate/executor/internal/memory_meter.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/stream_pool.h>

#include <ATen/Config.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceType.h>

#include <atomic>
#include <exception>
#include <optional>

namespace streamgate::executor {
namespace {

/// Sets the calling thread's number, and nothing else. at::set_num_threads would also set what
/// every thread begins with that first comes to libtorch later. REQUIRES: at::get_num_threads has
/// been called on this thread; only then has libtorch given the thread its first number.
void set_threads_of_this_thread(int threads) {
  using Set = void (*)(int);
#if AT_PARALLEL_OPENMP
  static const Set of_openmp = reinterpret_cast<Set>(loaded_torch_function("omp_set_num_threads"));
#else
  static const Set of_openmp = nullptr;
#endif
  if (of_openmp != nullptr) {
    of_openmp(threads);
  } else {
    at::set_num_threads(threads);
  }
}

/// What the calling thread had before a task, to be restored after it. libtorch keeps the number
/// for each thread (it is OpenMP's own variable), so this is kept for each thread, too.
thread_local int threads_before = 0;
thread_local unsigned depth = 0;
/// What it was set to. A worker keeps it from task to task.
thread_local int threads_now = 0;

class CpuBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "cpu"; }

  void initialise(std::size_t intra_op_threads) override {
    set_intra_op_threads(intra_op_threads);
    // Once in a process, and only before the first inter-op work: a second executor finds it done,
    // and a service that chose for itself keeps its choice.
    try {
      at::set_num_interop_threads(1);
    } catch (const std::exception&) {
    }
  }

  Provenance provenance() const override {
    return {.backend = "cpu",
            .libtorch = loaded_torch_identity(),
            .device = cpu_model(),
            .os = operating_system()};
  }

  std::size_t max_streams() const noexcept override { return StreamPool::kMaxSlots; }
  /// libtorch's CPU operators may run at any width; width is a matter of speed here.
  policies::OpClassSet default_class() const noexcept override { return policies::OpClass::kRaw; }
  bool shares_cores() const noexcept override { return true; }
  /// Workers are bounded by their number whatever this is; it is for callers of run. A permit goes
  /// from one caller to the next, who sleeps, and until it is awake a core may idle: with one
  /// permit for each of 2 cores a quarter of the machine did (digits --sweep, 8 clients,
  /// libtorch 1.13 and 2.6: 0.54 to 0.79 of the best by hand; with 4 permits 0.91, with 5 0.98 to
  /// 0.99). Spare permits keep successors awake. Only with one intra-op thread: more threads than
  /// cores that wait for each other inside an operation are the very cliff that is to be avoided.
  std::size_t first_width(std::size_t threads,
                          std::size_t intra_op_threads) const noexcept override {
    return intra_op_threads == 1 ? 2 * threads + 1 : threads;
  }

  void set_intra_op_threads(std::size_t threads) noexcept override {
    // Relaxed: it orders nothing; the next task, or the one after, sees it.
    intra_op_threads_.store(static_cast<int>(threads), std::memory_order_relaxed);
  }

  std::optional<DeviceMemory> memory() const noexcept override { return machine_.now(); }
  bool starts_metering() noexcept override {
    return start_memory_meter(static_cast<int>(c10::DeviceType::CPU), -1);
  }
  std::size_t ends_metering() noexcept override { return end_memory_meter(); }
  bool can_meter() const noexcept override { return true; }

  void bind_worker() noexcept override { restrict_thread(); }
  void unbind_worker() noexcept override { restore_thread(); }
  void open_stream(StreamIndex) override {}
  void enter(StreamIndex, Thread thread) noexcept override {
    if (thread == Thread::kCaller) return restrict_thread();
    // The number may have changed since the worker came.
    if (depth == 1) keep_to_share();
  }
  void leave(StreamIndex, Thread thread) noexcept override {
    if (thread == Thread::kCaller) restore_thread();
  }
  Progress notify_when_done(StreamIndex, StreamDone&) noexcept override { return Progress::kDone; }
  bool synchronize(StreamIndex, std::chrono::steady_clock::time_point) noexcept override {
    return true;
  }

 private:
  void restrict_thread() const noexcept {
    if (depth++ != 0) return;
    threads_before = threads_now = at::get_num_threads();
    keep_to_share();
  }
  void keep_to_share() const noexcept {
    const int share = intra_op_threads_.load(std::memory_order_relaxed);
    if (threads_now == share) return;
    set_threads_of_this_thread(share);
    threads_now = share;
  }
  void restore_thread() const noexcept {
    if (--depth != 0) return;
    if (at::get_num_threads() != threads_before) set_threads_of_this_thread(threads_before);
  }

  const MachineMemory machine_;
  std::atomic<int> intra_op_threads_{1};
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace streamgate::executor

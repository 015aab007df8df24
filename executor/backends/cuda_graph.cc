// SPDX-License-Identifier: Apache-2.0
//
// Capture and replay on CUDA's own functions and libtorch's allocator, not at::cuda::CUDAGraph:
// that one leaves the allocator in capture when a capture fails (capture_end throws before it ends
// the pool, 2.6 and 2.11), and it makes generators take part, whose state all graphs then share.
// Without that, an operation that draws random numbers refuses to be captured, which is what is
// wanted.
#include <streamgate/executor/backends/cuda_graph.h>

#include <streamgate/executor/internal/cuda_device.h>
#include <streamgate/executor/internal/pause.h>

#include <ATen/Functions.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::executor {
namespace {

using Time = std::chrono::steady_clock;

/// Up to here a kernel carries bytes faster to or from the host than a copy engine.
constexpr std::size_t kByKernel = std::size_t{256} << 10;
/// How often a thread that watches memory looks whether the device still lives.
constexpr std::chrono::milliseconds kBetweenLooks{2};

namespace allocator = c10::cuda::CUDACachingAllocator;
using cuda::Process;

cudaStreamCaptureMode to_cuda(CaptureMode mode) {
  switch (mode) {
    case CaptureMode::kGlobal:
      return cudaStreamCaptureModeGlobal;
    case CaptureMode::kThreadLocal:
      return cudaStreamCaptureModeThreadLocal;
    case CaptureMode::kRelaxed:
      break;
  }
  return cudaStreamCaptureModeRelaxed;
}

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

at::TensorOptions pinned(const at::Tensor& like) {
  return at::TensorOptions().dtype(like.dtype()).device(at::kCPU).pinned_memory(true);
}

/// Pinned bytes as the device sees them, in numbers of one type: to copy them by a kernel.
at::Tensor seen_by_device(const at::Tensor& pinned_tensor, at::Device device, at::ScalarType type) {
  const auto count = static_cast<std::int64_t>(pinned_tensor.nbytes() / c10::elementSize(type));
  return at::for_blob(pinned_tensor.data_ptr(), {count})
      .options(at::TensorOptions().dtype(type).device(device))
      .target_device(device)
      .make_tensor();
}

/// Whether its elements are one run of bytes, so that like may be copied to like as such.
bool is_one_run(const at::Tensor& tensor) { return tensor.is_non_overlapping_and_dense(); }

std::string first_line(const char* what) {
  const std::string text = what;
  return text.substr(0, text.find('\n'));
}

// ---- one capture ----

/// The number of the capture that a stream takes part in, or 0.
unsigned long long capture_of(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long number = 0;
  const bool active = cudaStreamGetCaptureInfo(stream, &status, &number) == cudaSuccess &&
                      status == cudaStreamCaptureStatusActive;
  return active ? number : 0;
}

/// The allocator's pool of one graph. While it is open, what is allocated on streams that take part
/// in the graph's capture comes from it. Used again by the next graph: the allocator gives the
/// memory of a released pool back only when it finds no more itself, and until then CUDA has none
/// for the graphs themselves (seen with libtorch 2.11's own graphs on 80 GiB, docs/cuda.md).
class Pool {
 public:
  explicit Pool(c10::DeviceIndex device) : device_(device) { open(); }
  void open_again() {
    open();
    again_ = true;
  }
  ~Pool() {
    close();
    if (Process::instance().refusal() == nullptr) allocator::releasePool(device_, id_);
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void open() {
    capture_ = 0;
    // Open before the capture begins, as libtorch has it: what is let go of in between must not be
    // marked by an event, which a capturing stream would refuse.
    allocator::beginAllocateToPool(device_, id_, [this](cudaStream_t stream) {
      const unsigned long long capture = capture_.load();
      return capture != 0 && capture_of(stream) == capture;
    });
    open_ = true;
  }
  void serve(cudaStream_t stream) { capture_ = capture_of(stream); }
  void close() {
    if (!std::exchange(open_, false)) return;
    allocator::endAllocateToPool(device_, id_);
    // Each opening has a share in the pool; one of them is enough.
    if (std::exchange(again_, false)) allocator::releasePool(device_, id_);
  }
  /// Looks at all that the allocator has: some milliseconds of a large heap.
  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& segment : allocator::snapshot().segments) {
      if (segment.owner_private_pool_id == id_) sum += segment.total_size;
    }
    return sum;
  }

 private:
  c10::DeviceIndex device_;
  at::cuda::MempoolId_t id_ = at::cuda::graph_pool_handle();
  std::atomic<unsigned long long> capture_{0};
  bool open_ = false;
  bool again_ = false;
};

/// Pools of graphs that are gone. Shared by the graphs and who makes them, as either may end first.
struct SparePools {
  std::mutex mutex;
  std::vector<std::unique_ptr<Pool>> pools;

  [[nodiscard]] std::unique_ptr<Pool> take(c10::DeviceIndex device) {
    std::unique_ptr<Pool> pool;
    {
      const std::lock_guard lock(mutex);
      if (!pools.empty()) {
        pool = std::move(pools.back());
        pools.pop_back();
      }
    }
    if (!pool) return std::make_unique<Pool>(device);
    pool->open_again();
    return pool;
  }
  void give_back(std::unique_ptr<Pool> pool) {
    const std::lock_guard lock(mutex);
    pools.push_back(std::move(pool));
  }
  void clear() {
    std::vector<std::unique_ptr<Pool>> gone;
    const std::lock_guard lock(mutex);
    gone.swap(pools);
  }
};

/// From begin to end of one capture on a stream. An end must come whatever is thrown in between, or
/// the stream is of no use to anybody.
class Capture {
 public:
  Capture(cudaStream_t stream, CaptureMode mode) : stream_(stream) {
    C10_CUDA_CHECK(cudaStreamBeginCapture(stream, to_cuda(mode)));
  }
  ~Capture() {
    if (ended_) return;
    static_cast<void>(cudaStreamEndCapture(stream_, &graph_));
    destroy();
    static_cast<void>(cudaGetLastError());
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// Throws NotCapturable where something in between was not allowed.
  [[nodiscard]] cudaGraphExec_t end() {
    ended_ = true;
    const cudaError_t state = cudaStreamEndCapture(stream_, &graph_);
    if (state != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      destroy();
      throw NotCapturable("CUDA could not capture it: " + cuda::words_of(state));
    }
    static_cast<void>(cudaGraphGetNodes(graph_, nullptr, &nodes_));
    // As libtorch instantiates its own: what cudaMallocAsync gave out in the graph is freed at the
    // next launch, and a kernel keeps the priority of the stream that it was captured on.
    cudaGraphExec_t executable = nullptr;
    const cudaError_t made = cudaGraphInstantiateWithFlags(
        &executable, graph_,
        cudaGraphInstantiateFlagAutoFreeOnLaunch | cudaGraphInstantiateFlagUseNodePriority);
    destroy();
    C10_CUDA_CHECK(made);
    return executable;
  }

  /// Kernels and copies in it; after the end.
  [[nodiscard]] std::size_t nodes() const noexcept { return nodes_; }

 private:
  void destroy() {
    if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(std::exchange(graph_, nullptr)));
  }

  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  std::size_t nodes_ = 0;
  bool ended_ = false;
};

// ---- a captured call ----

class CudaCapturedGraph final : public CapturedGraph {
 public:
  CudaCapturedGraph(c10::DeviceIndex device, CaptureMode mode, const GraphFunction& function,
                    const Tensors& inputs, const Tensors& eager_outputs, GraphResults results,
                    std::shared_ptr<SparePools> spare)
      : stream_(current_stream()), results_(results), spare_(std::move(spare)) {
    make_inputs(device, inputs);
    if (results == GraphResults::kHost) {
      for (const at::Tensor& output : eager_outputs) {
        host_outputs_.push_back(at::empty(output.sizes(), pinned(output)));
      }
      done_ = at::zeros({1}, at::TensorOptions().dtype(at::kInt).pinned_memory(true));
    }
    std::vector<std::int64_t> versions;
    for (const at::Tensor& input : inputs_) versions.push_back(input._version());
    pool_ = spare_->take(device);
    {
      Capture capture(stream_, mode);
      pool_->serve(stream_);
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        if (host_inputs_[i].defined()) carry(inputs_[i], host_inputs_[i], inputs_[i], false);
      }
      outputs_ = function(inputs_);
      check(eager_outputs);
      for (at::Tensor& output : outputs_) {
        // A view with holes or repetitions cannot be handed out as one run of bytes.
        if (results == GraphResults::kHost || !is_one_run(output)) output = output.contiguous();
      }
      for (std::size_t i = 0; i < host_outputs_.size(); ++i) {
        carry(host_outputs_[i], host_outputs_[i], outputs_[i], true);
      }
      if (done_.defined()) {
        at::Tensor done = seen_by_device(done_, at::Device(at::kCUDA, device), at::kInt);
        done.add_(1);
      }
      executable_ = capture.end();
      // Beside its launch a replay copies what is not copied in the graph.
      const auto copies =
          std::count_if(host_inputs_.begin(), host_inputs_.end(),
                        [](const at::Tensor& host) { return !host.defined(); }) +
          (results == GraphResults::kDevice ? static_cast<std::ptrdiff_t>(outputs_.size()) : 0);
      pays_ = capture.nodes() > static_cast<std::size_t>(1 + copies);
    }
    pool_->close();
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i]._version() != versions[i]) {
        give_up();
        throw NotCapturable("it changes its input " + std::to_string(i));
      }
    }
    // Now, and not at the first replay, somebody may wait for the graph to come to the device.
    static_cast<void>(cudaGraphUpload(executable_, stream_));
    bytes_ = pool_->bytes();
    for (const at::Tensor& input : inputs_) bytes_ += input.nbytes();
  }

  ~CudaCapturedGraph() override { give_up(); }
  CudaCapturedGraph(const CudaCapturedGraph&) = delete;
  CudaCapturedGraph& operator=(const CudaCapturedGraph&) = delete;

  Tensors replay(const Tensors& inputs) override {
    stream_ = current_stream();
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (!host_inputs_[i].defined()) {
        copy(inputs_[i], inputs[i]);
      } else if (inputs[i].is_contiguous()) {
        std::memcpy(host_inputs_[i].data_ptr(), inputs[i].data_ptr(), inputs[i].nbytes());
      } else {
        host_inputs_[i].copy_(inputs[i]);
      }
    }
    C10_CUDA_CHECK(cudaGraphLaunch(executable_, stream_));
    launches_ = static_cast<int>(static_cast<unsigned>(launches_) + 1U);
    Tensors given;
    given.reserve(outputs_.size());
    if (results_ == GraphResults::kHost) {
      wait();
      for (const at::Tensor& output : host_outputs_) {
        given.push_back(at::empty(output.sizes(), output.options().pinned_memory(false)));
        std::memcpy(given.back().data_ptr(), output.data_ptr(), output.nbytes());
      }
    } else {
      for (const at::Tensor& output : outputs_) {
        given.push_back(at::empty_strided(output.sizes(), output.strides(), output.options()));
        copy(given.back(), output);
      }
    }
    return given;
  }

  std::size_t bytes() const noexcept override { return bytes_; }
  bool pays() const noexcept override { return pays_; }

 private:
  void make_inputs(c10::DeviceIndex device, const Tensors& inputs) {
    // Such as have a version, by which a change is noticed.
    const c10::InferenceMode no_inference(false);
    for (const at::Tensor& input : inputs) {
      const bool is_here = input.is_cuda() && input.device().index() == device;
      if (!is_here && !input.is_cpu()) throw NotCapturable("an input is on another device");
      const auto options = at::TensorOptions().dtype(input.dtype()).device(at::kCUDA, device);
      host_inputs_.push_back(is_here ? at::Tensor() : at::empty(input.sizes(), pinned(input)));
      inputs_.push_back(is_here && is_one_run(input)
                            ? at::empty_strided(input.sizes(), input.strides(), options)
                            : at::empty(input.sizes(), options));
      inputs_.back().copy_(input);
    }
  }

  /// What the capture returned must be what the call returned.
  void check(const Tensors& eager_outputs) const {
    if (outputs_.size() != eager_outputs.size()) {
      throw NotCapturable("it returns another number of results each time");
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const at::Tensor& output = outputs_[i];
      if (!output.defined() || !output.is_cuda() || output.layout() != at::kStrided) {
        throw NotCapturable("its result " + std::to_string(i) +
                            " is no dense tensor on the device");
      }
      if (output.sizes() != eager_outputs[i].sizes() ||
          output.scalar_type() != eager_outputs[i].scalar_type()) {
        throw NotCapturable("its result " + std::to_string(i) + " has another shape each time");
      }
    }
  }

  /// Bytes where they are one run on both sides, which is one call of the driver; else libtorch's.
  void copy(const at::Tensor& to, const at::Tensor& from) const {
    if (is_one_run(from) && from.strides() == to.strides() && !from.is_conj() && !from.is_neg()) {
      C10_CUDA_CHECK(cudaMemcpyAsync(to.data_ptr(), from.data_ptr(), from.nbytes(),
                                     cudaMemcpyDefault, stream_));
    } else {
      to.copy_(from, /*non_blocking=*/true);
    }
  }

  /// Between a pinned buffer and the device, as a part of the graph. A small one by a kernel that
  /// reads or writes the host's memory: a copy engine takes longer to begin than to copy it.
  void carry(const at::Tensor& to, const at::Tensor& host, const at::Tensor& from,
             bool to_host) const {
    const std::size_t bytes = from.nbytes();
    if (bytes == 0 || bytes > kByKernel || !is_one_run(to_host ? from : to)) {
      copy(to, from);
      return;
    }
    const at::ScalarType type = bytes % sizeof(int) == 0 ? at::kInt : at::kByte;
    const at::Tensor& on_device = to_host ? from : to;
    const at::Tensor near = seen_by_device(on_device, on_device.device(), type);
    const at::Tensor far = seen_by_device(host, on_device.device(), type);
    at::Tensor target = to_host ? far : near;
    // Any bits are themselves, or nothing.
    at::bitwise_or_out(target, to_host ? near : far, 0);
  }

  /// Waits on this thread, which has nothing else to do. The graph's last kernel counts in pinned
  /// memory, which can be watched without the driver: many threads that ask it hold up each other
  /// and those who launch. Throws c10::Error of a lost device.
  void wait() {
    const auto* const count = static_cast<const int*>(done_.data_ptr());
    const auto begin = Time::now();
    auto asked = begin;
    // Acquire: what the graph wrote before is read after. Signed numbers may wrap.
    while (__atomic_load_n(count, __ATOMIC_ACQUIRE) != launches_) {
      for (int i = 0; i < 16; ++i) pause();
      const auto now = Time::now();
      if (now - begin > cuda::kBeforeYield) std::this_thread::yield();
      if (now - asked < kBetweenLooks) continue;
      asked = now;
      const cudaError_t state = cudaStreamQuery(stream_);
      if (state != cudaSuccess && state != cudaErrorNotReady) C10_CUDA_CHECK(state);
    }
  }

  void give_up() noexcept {
    if (Process::instance().refusal() != nullptr || Process::instance().lost()) {
      // Whoever frees device memory now calls CUDA.
      for (at::Tensor& tensor : outputs_) static_cast<void>(tensor.unsafeReleaseTensorImpl());
      for (Tensors* host : {&host_inputs_, &host_outputs_}) {
        for (at::Tensor& tensor : *host) static_cast<void>(tensor.unsafeReleaseTensorImpl());
      }
      static_cast<void>(done_.unsafeReleaseTensorImpl());
      for (at::Tensor& tensor : inputs_) static_cast<void>(tensor.unsafeReleaseTensorImpl());
      static_cast<void>(pool_.release());
      return;
    }
    if (executable_ != nullptr) {
      // The pool's memory goes to others next.
      static_cast<void>(cudaStreamSynchronize(stream_));
      static_cast<void>(cudaGraphExecDestroy(std::exchange(executable_, nullptr)));
    }
    outputs_.clear();
    try {
      if (pool_) spare_->give_back(std::move(pool_));
    } catch (const std::bad_alloc&) {
      pool_.reset();
    }
  }

  cudaStream_t stream_;  ///< Of the capture, then of the last replay.
  const GraphResults results_;
  Tensors inputs_;
  const std::shared_ptr<SparePools> spare_;
  Tensors host_inputs_;  ///< Pinned; undefined for an input on the device.
  std::unique_ptr<Pool> pool_;
  Tensors outputs_;       ///< In the pool.
  Tensors host_outputs_;  ///< Pinned; none for results on the device.
  at::Tensor done_;       ///< Pinned: how often the graph has come to its end.
  int launches_ = 0;
  cudaGraphExec_t executable_ = nullptr;
  std::size_t bytes_ = 0;
  bool pays_ = true;
};

class CudaGraphs final : public GraphDevice {
 public:
  CudaGraphs(std::size_t device, CaptureMode mode)
      : device_(static_cast<c10::DeviceIndex>(device)), mode_(mode) {}

  at::Device device() const noexcept override { return {at::kCUDA, device_}; }

  Tensors on_device(const Tensors& inputs) const override {
    Tensors placed;
    placed.reserve(inputs.size());
    for (const at::Tensor& input : inputs) {
      placed.push_back(input.is_cpu() ? input.to(at::Device(at::kCUDA, device_)) : input);
    }
    return placed;
  }

  Tensors on_host(const Tensors& outputs) const override {
    Tensors copies;
    copies.reserve(outputs.size());
    for (const at::Tensor& output : outputs) {
      copies.push_back(output.defined() ? output.cpu() : output);
    }
    return copies;
  }

  std::unique_ptr<CapturedGraph> capture(const GraphFunction& function, const Tensors& inputs,
                                         const Tensors& outputs, GraphResults results) override {
    for (const at::Tensor& output : outputs) {
      if (!output.defined() || !output.is_cuda()) {
        throw NotCapturable("a result is not on the device");
      }
    }
    try {
      return std::make_unique<CudaCapturedGraph>(device_, mode_, function, inputs, outputs, results,
                                                 spare_);
    } catch (const NotCapturable&) {
      throw;
    } catch (const std::exception& error) {
      if (is_out_of_memory(error)) throw;
      // Whatever the function threw here and not when it ran: the operation that may not be
      // captured says which it is.
      static_cast<void>(cudaGetLastError());
      throw NotCapturable(first_line(error.what()));
    }
  }

  void give_back_memory() noexcept override {
    if (Process::instance().refusal() != nullptr || Process::instance().lost()) return;
    try {
      spare_->clear();
      allocator::emptyCache();
    } catch (const std::exception&) {
      // A device that is being lost; whoever uses it next says so.
    }
  }

 private:
  const c10::DeviceIndex device_;
  const CaptureMode mode_;
  const std::shared_ptr<SparePools> spare_ = std::make_shared<SparePools>();
};

}  // namespace

CaptureMode capture_mode_of(std::string_view word) {
  if (word == "global") return CaptureMode::kGlobal;
  if (word == "thread_local") return CaptureMode::kThreadLocal;
  if (word == "relaxed") return CaptureMode::kRelaxed;
  throw std::invalid_argument("'" + std::string(word) +
                              "' is no capture mode; allowed: global, thread_local, relaxed");
}

std::unique_ptr<GraphDevice> make_cuda_graphs(const policies::Config& config) {
  return make_cuda_graphs(config.cuda.device, capture_mode_of(config.cuda.capture_mode));
}

std::unique_ptr<GraphDevice> make_cuda_graphs(std::size_t device, CaptureMode mode) {
  return std::make_unique<CudaGraphs>(device, mode);
}

}  // namespace streamgate::executor

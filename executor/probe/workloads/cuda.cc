// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/workloads/cuda.h>

#include <streamgate/executor/backends/cuda.h>
#include <streamgate/executor/stream_pool.h>
#include <streamgate/policies/config.h>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <array>
#include <utility>
#include <vector>

namespace streamgate::executor::probe {
namespace {

using policies::OpClass;

constexpr std::size_t kInputs = 4;

struct Reference {
  at::Tensor weight;
  at::Tensor bias;
  std::array<at::Tensor, kInputs> inputs;
  std::array<at::Tensor, kInputs> outputs;

  [[nodiscard]] at::Tensor call(const at::Tensor& input) const {
    return at::relu(at::linear(input, weight, bias));
  }
};

/// On a stream of the backend's, which is current on this thread as long as this lives.
class CudaOperations : public Operations {
 public:
  CudaOperations(Backend& backend, StreamIndex stream, const Reference& reference)
      : reference_(reference), backend_(backend), stream_(stream) {
    backend_.enter(stream_, Backend::Thread::kCaller);
  }
  ~CudaOperations() override { backend_.leave(stream_, Backend::Thread::kCaller); }
  CudaOperations(const CudaOperations&) = delete;
  CudaOperations& operator=(const CudaOperations&) = delete;

  std::size_t finish() override {
    C10_CUDA_CHECK(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream()));
    std::size_t wrong = 0;
    for (const auto& [input, output] : pending_) {
      // Another kernel may be chosen for a graph: a rounding apart is no corruption.
      if (!at::allclose(output, reference_.outputs[input], 1e-3, 1e-3)) ++wrong;
    }
    pending_.clear();
    return wrong;
  }

 protected:
  [[nodiscard]] std::size_t next() { return std::exchange(next_, (next_ + 1) % kInputs); }
  void keep(std::size_t input, at::Tensor output) {
    pending_.emplace_back(input, std::move(output));
  }

  const Reference& reference_;

 private:
  const at::NoGradGuard no_grad_;
  Backend& backend_;
  const StreamIndex stream_;
  std::size_t next_ = 0;
  std::vector<std::pair<std::size_t, at::Tensor>> pending_;
};

class RawOperations final : public CudaOperations {
 public:
  using CudaOperations::CudaOperations;
  void encode() override {
    const std::size_t input = next();
    keep(input, reference_.call(reference_.inputs[input]));
  }
};

/// A graph's whole life is one operation: capture, one replay, destruction. By libtorch's own
/// class, since that is what a service's own tasks of class graph use; the graph cache's way of
/// capturing shares less between threads and has survived more (docs/cuda.md).
class GraphOperations final : public CudaOperations {
 public:
  GraphOperations(Backend& backend, StreamIndex stream, const Reference& reference,
                  cudaStreamCaptureMode mode)
      : CudaOperations(backend, stream, reference), mode_(mode) {
    // Whatever a thread makes at its first operation cannot be made in a capture.
    static_cast<void>(reference.call(reference.inputs.front()));
    C10_CUDA_CHECK(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream()));
  }
  void encode() override {
    const std::size_t input = next();
    at::cuda::CUDAGraph graph;
    graph.capture_begin({0, 0}, mode_);
    const at::Tensor output = reference_.call(reference_.inputs[input]);
    graph.capture_end();
    graph.replay();
    keep(input, output.clone());
    C10_CUDA_CHECK(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream()));
  }

 private:
  const cudaStreamCaptureMode mode_;
};

cudaStreamCaptureMode to_cuda(CaptureMode mode) {
  return mode == CaptureMode::kGlobal        ? cudaStreamCaptureModeGlobal
         : mode == CaptureMode::kThreadLocal ? cudaStreamCaptureModeThreadLocal
                                             : cudaStreamCaptureModeRelaxed;
}

class CudaWorkload final : public Workload {
 public:
  explicit CudaWorkload(CaptureMode mode) : mode_(to_cuda(mode)) {}

  void initialise() override { backend_->initialise(1); }
  Provenance provenance() const override { return backend_->provenance(); }
  std::vector<OpClass> classes() const override { return {OpClass::kRaw, OpClass::kGraph}; }
  /// A capture is this process's; what is called runs eagerly.
  bool is_called(OpClass op_class) const noexcept override { return op_class == OpClass::kRaw; }
  std::size_t max_streams() const noexcept override { return backend_->max_streams(); }
  std::string_view operation(OpClass op_class) const noexcept override {
    return op_class == OpClass::kGraph ? "capture of aten::linear and aten::relu"
                                       : "aten::linear and aten::relu";
  }
  /// What is slow here is the first use of a context by many threads.
  std::chrono::milliseconds hang_after() const noexcept override {
    return std::chrono::seconds{20};
  }

  void prepare(OpClass) override {
    if (reference_.weight.defined()) return;
    const at::NoGradGuard no_grad;
    const at::Device device(at::kCUDA, 0);
    reference_.weight = at::randn({256, 256}, device);
    reference_.bias = at::randn({256}, device);
    for (std::size_t i = 0; i < kInputs; ++i) {
      reference_.inputs[i] = at::randn({32, 256}, device);
      reference_.outputs[i] = reference_.call(reference_.inputs[i]);
    }
    C10_CUDA_CHECK(cudaDeviceSynchronize());
  }

  std::unique_ptr<Operations> open(OpClass op_class, StreamIndex stream) override {
    // Stages may come back to a stream; of two threads none has the same.
    if (!std::exchange(opened_.at(stream), true)) backend_->open_stream(stream);
    if (op_class == OpClass::kGraph) {
      return std::make_unique<GraphOperations>(*backend_, stream, reference_, mode_);
    }
    return std::make_unique<RawOperations>(*backend_, stream, reference_);
  }

 private:
  std::unique_ptr<Backend> backend_ = make_cuda_backend(policies::Config{});
  const cudaStreamCaptureMode mode_;
  Reference reference_;
  std::array<bool, StreamPool::kMaxSlots> opened_{};
};

}  // namespace

std::unique_ptr<Workload> make_cuda_workload(CaptureMode mode) {
  return std::make_unique<CudaWorkload>(mode);
}

}  // namespace streamgate::executor::probe

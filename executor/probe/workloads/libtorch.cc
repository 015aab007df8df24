// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/workloads/libtorch.h>

#include <streamgate/executor/backends/cpu.h>
#include <streamgate/executor/backends/mps.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <span>
#include <utility>

namespace streamgate::executor::probe {
namespace {

using policies::index_of;
using policies::kOpClasses;
using policies::OpClass;

constexpr auto kNever = std::chrono::steady_clock::time_point::max();
constexpr std::size_t kInputs = 4;

using Compute = at::Tensor (*)(const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& bias);

struct Operator {
  OpClass op_class = OpClass::kRaw;
  std::string_view name;
  std::string_view expression;
  Compute compute = nullptr;
};

// The one place where it is said, so that the reproducer shows what the trial did.
#define STREAMGATE_OPERATOR(op_class, name, expression)                                     \
  Operator {                                                                                \
    op_class, name, #expression,                                                            \
        []([[maybe_unused]] const at::Tensor& x, [[maybe_unused]] const at::Tensor& weight, \
           [[maybe_unused]] const at::Tensor& bias) -> at::Tensor { return expression; }    \
  }

constexpr std::array kOnCpu = {
    STREAMGATE_OPERATOR(OpClass::kRaw, "aten::linear", at::linear(x, weight, bias))};

constexpr std::array kOnMps = {
    STREAMGATE_OPERATOR(OpClass::kRaw, "aten::add", at::add(x, weight[0])),
    STREAMGATE_OPERATOR(OpClass::kKernel, "aten::linear", at::linear(x, weight, bias)),
    STREAMGATE_OPERATOR(OpClass::kGraph, "aten::log_softmax", at::log_softmax(x, 1))};

constexpr std::array kOnMpsByGraph = {
    STREAMGATE_OPERATOR(OpClass::kRaw, "aten::add", at::add(x, weight[0])),
    STREAMGATE_OPERATOR(OpClass::kGraph, "aten::linear", at::linear(x, weight, bias))};

#undef STREAMGATE_OPERATOR

std::span<const Operator> operators_on_mps() {
  return std::getenv("MPS_FORCE_GRAPH_PATH") != nullptr ? std::span<const Operator>(kOnMpsByGraph)
                                                        : std::span<const Operator>(kOnMps);
}

const Operator* find(std::span<const Operator> operators, OpClass op_class) noexcept {
  const auto found =
      std::find_if(operators.begin(), operators.end(),
                   [op_class](const Operator& candidate) { return candidate.op_class == op_class; });
  return found == operators.end() ? nullptr : &*found;
}

struct Reference {
  at::Tensor weight;
  at::Tensor bias;
  std::array<at::Tensor, kInputs> inputs;
  std::array<at::Tensor, kInputs> outputs;  ///< As computed alone, on the device; in the host's memory.
};

/// Makes a stream current for as long as it lives.
class OnStream {
 public:
  OnStream(Backend& backend, StreamIndex stream) : backend_(backend), stream_(stream) {
    backend_.enter(stream_, Backend::Thread::kCaller);
  }
  ~OnStream() { backend_.leave(stream_, Backend::Thread::kCaller); }
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;

 private:
  Backend& backend_;
  StreamIndex stream_;
};

class TorchOperations final : public Operations {
 public:
  TorchOperations(Backend& backend, StreamIndex stream, Compute compute,
                  const Reference& reference)
      : backend_(backend), stream_(stream), compute_(compute), reference_(reference) {}

  void encode() override {
    const OnStream current(backend_, stream_);
    pending_.emplace_back(next_, compute_(reference_.inputs[next_], reference_.weight,
                                          reference_.bias));
    next_ = (next_ + 1) % kInputs;
  }

  std::size_t finish() override {
    const OnStream current(backend_, stream_);
    // Without a deadline of its own: who waits too long is ended by the parent, as a hang.
    if (!backend_.synchronize(stream_, kNever)) return pending_.size();
    const auto wrong = std::count_if(pending_.begin(), pending_.end(), [this](const auto& done) {
      // A rounding apart is no corruption: a BLAS may pick another kernel for other alignments.
      return !at::allclose(done.second.cpu(), reference_.outputs[done.first], 1e-4, 1e-4);
    });
    pending_.clear();
    return static_cast<std::size_t>(wrong);
  }

 private:
  Backend& backend_;
  const StreamIndex stream_;
  const Compute compute_;
  const Reference& reference_;
  std::size_t next_ = 0;
  std::vector<std::pair<std::size_t, at::Tensor>> pending_;  ///< The input, and what came of it.
};

class TorchWorkload final : public Workload {
 public:
  TorchWorkload(std::unique_ptr<Backend> backend, at::DeviceType device,
                std::span<const Operator> operators)
      : backend_(std::move(backend)), device_(device), operators_(operators) {}

  /// One intra-op thread: more than one in each of many threads would measure the cliff (facts 3).
  void initialise() override { backend_->initialise(1); }
  Provenance provenance() const override { return backend_->provenance(); }
  std::vector<OpClass> classes() const override {
    std::vector<OpClass> classes;
    for (const Operator& each : operators_) classes.push_back(each.op_class);
    return classes;
  }
  std::size_t max_streams() const noexcept override { return backend_->max_streams(); }
  std::string_view operation(OpClass op_class) const noexcept override {
    const Operator* const found = find(operators_, op_class);
    return found == nullptr ? std::string_view() : found->name;
  }
  /// An operation takes microseconds, its first use perhaps seconds (a kernel is compiled). What is
  /// slower still is a machine that swaps.
  std::chrono::milliseconds hang_after() const noexcept override {
    return std::chrono::seconds{20};
  }

  void prepare(OpClass op_class) override {
    Reference& reference = references_[index_of(op_class)];
    open_once(0);
    const OnStream current(*backend_, 0);
    const at::TensorOptions on_device = at::TensorOptions().device(device_);
    reference.weight = at::randn({256, 256}).to(on_device);
    reference.bias = at::randn({256}).to(on_device);
    const Compute compute = find(operators_, op_class)->compute;
    for (std::size_t i = 0; i < kInputs; ++i) {
      reference.inputs[i] = at::randn({32, 256}).to(on_device);
      const at::Tensor output = compute(reference.inputs[i], reference.weight, reference.bias);
      if (!backend_->synchronize(0, std::chrono::steady_clock::now() + std::chrono::seconds{60})) {
        throw std::runtime_error("the device did not finish one operation in 60 s");
      }
      reference.outputs[i] = output.cpu();
    }
  }
  std::unique_ptr<Operations> open(OpClass op_class, StreamIndex stream) override {
    open_once(stream);
    return std::make_unique<TorchOperations>(*backend_, stream,
                                             find(operators_, op_class)->compute,
                                             references_[index_of(op_class)]);
  }

 private:
  /// Stages come back to streams that earlier ones opened.
  void open_once(StreamIndex stream) {
    const std::lock_guard lock(mutex_);
    if (opened_.size() <= stream) opened_.resize(stream + 1);
    if (!opened_[stream]) backend_->open_stream(stream);
    opened_[stream] = true;
  }

  std::unique_ptr<Backend> backend_;
  const at::DeviceType device_;
  const std::span<const Operator> operators_;
  std::array<Reference, kOpClasses> references_;
  std::mutex mutex_;
  std::vector<bool> opened_;
};

}  // namespace

std::unique_ptr<Workload> make_cpu_workload() {
  return std::make_unique<TorchWorkload>(make_cpu_backend(), at::kCPU, kOnCpu);
}

std::unique_ptr<Workload> make_mps_workload() {
  return std::make_unique<TorchWorkload>(make_mps_backend({}), at::kMPS, operators_on_mps());
}

std::string_view torch_expression(std::string_view backend, OpClass op_class) noexcept {
  const std::span<const Operator> operators =
      backend == "mps" ? operators_on_mps() : std::span<const Operator>(kOnCpu);
  const Operator* const found = find(operators, op_class);
  return found == nullptr ? std::string_view() : found->expression;
}

}  // namespace streamgate::executor::probe

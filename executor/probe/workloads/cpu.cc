// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/workloads/cpu.h>

#include <streamgate/executor/backends/cpu.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <utility>

namespace streamgate::executor::probe {
namespace {

using policies::OpClass;

constexpr std::size_t kInputs = 4;

struct Reference {
  at::Tensor weight;
  at::Tensor bias;
  std::array<at::Tensor, kInputs> inputs;
  std::array<at::Tensor, kInputs> outputs;
};

class CpuOperations final : public Operations {
 public:
  explicit CpuOperations(const Reference& reference) : reference_(reference) {
    // OpenMP's number of each thread (facts 3): more than one would measure the cliff.
    at::set_num_threads(1);
  }

  /// The CPU does the work at once.
  void encode() override {
    const at::Tensor output =
        at::linear(reference_.inputs[next_], reference_.weight, reference_.bias);
    // A rounding apart is no corruption: a BLAS may pick another kernel for other alignments.
    if (!at::allclose(output, reference_.outputs[next_], 1e-4, 1e-4)) ++wrong_;
    next_ = (next_ + 1) % kInputs;
  }
  std::size_t finish() override { return std::exchange(wrong_, 0); }

 private:
  const Reference& reference_;
  std::size_t next_ = 0;
  std::size_t wrong_ = 0;
};

class CpuWorkload final : public Workload {
 public:
  void initialise() override { backend_->initialise(1); }
  Provenance provenance() const override { return backend_->provenance(); }
  std::vector<OpClass> classes() const override { return {OpClass::kRaw}; }
  std::size_t max_streams() const noexcept override { return backend_->max_streams(); }
  std::string_view operation(OpClass) const noexcept override { return "aten::linear"; }
  /// Nothing is known to hang here; what is slow is a machine that swaps.
  std::chrono::milliseconds hang_after() const noexcept override {
    return std::chrono::seconds{20};
  }

  void prepare(OpClass) override {
    const at::NoGradGuard no_grad;
    at::set_num_threads(1);
    reference_.weight = at::randn({256, 256});
    reference_.bias = at::randn({256});
    for (std::size_t i = 0; i < kInputs; ++i) {
      reference_.inputs[i] = at::randn({32, 256});
      reference_.outputs[i] = at::linear(reference_.inputs[i], reference_.weight, reference_.bias);
    }
  }
  std::unique_ptr<Operations> open(OpClass, StreamIndex) override {
    return std::make_unique<CpuOperations>(reference_);
  }

 private:
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Reference reference_;
};

}  // namespace

std::unique_ptr<Workload> make_cpu_workload() { return std::make_unique<CpuWorkload>(); }

}  // namespace streamgate::executor::probe

// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/workloads/emulator.h>

#include <streamgate/executor/backends/emulator.h>
#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/executor/probe/stage.h>

#include <algorithm>
#include <array>
#include <deque>
#include <span>
#include <stdexcept>
#include <utility>

namespace streamgate::executor::probe {
namespace {

using policies::index_of;
using policies::OpClass;

constexpr std::size_t kSide = 8;
using Matrix = std::array<float, kSide * kSide>;

/// A matrix product is in every class: what differs between them is how the device encodes it.
void multiply(const Matrix& a, const Matrix& b, Matrix& product) {
  for (std::size_t row = 0; row < kSide; ++row) {
    for (std::size_t column = 0; column < kSide; ++column) {
      float sum = 0;
      for (std::size_t k = 0; k < kSide; ++k) sum += a[row * kSide + k] * b[k * kSide + column];
      product[row * kSide + column] = sum;
    }
  }
}

Matrix matrix(std::size_t seed) {
  Matrix values;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>((seed * 31 + i * 7) % 17) - 8.0F;
  }
  return values;
}

constexpr std::size_t kInputs = 4;

struct Reference {
  Matrix weight = matrix(99);
  std::array<Matrix, kInputs> inputs{};
  std::array<Matrix, kInputs> outputs{};  ///< As computed alone, on the device.
};

/// The seeds' names for what they saw fail (facts 1.1).
constexpr std::array<std::string_view, policies::kOpClasses> kOperations = {
    "aten::add", "aten::linear", "aten::mm", "empty_cache"};

class EmulatorOperations final : public Operations {
 public:
  EmulatorOperations(metal::Stream& stream, OpClass op_class, const Reference& reference)
      : stream_(stream), op_class_(op_class), reference_(reference) {}

  void encode() override {
    const std::size_t input = next_;
    next_ = (next_ + 1) % kInputs;
    Pending& pending = pending_.emplace_back();
    pending.input = input;
    stream_.run_sync([&] {
      stream_.encoder().encode({.classes = op_class_,
                                .label = kOperations[index_of(op_class_)],
                                .kernel =
                                    [this, input, &pending] {
                                      multiply(reference_.inputs[input], reference_.weight,
                                               pending.output);
                                    },
                                .output = std::as_writable_bytes(std::span(pending.output))});
    });
  }

  std::size_t finish() override {
    // Without a deadline of its own: who waits too long is ended by the parent, which calls it a
    // hang.
    if (!stream_.synchronize(metal::Clock::time_point::max())) return pending_.size();
    const auto wrong = std::count_if(pending_.begin(), pending_.end(), [this](const Pending& done) {
      return done.output != reference_.outputs[done.input];
    });
    pending_.clear();
    return static_cast<std::size_t>(wrong);
  }

 private:
  struct Pending {
    std::size_t input = 0;
    Matrix output{};
  };

  metal::Stream& stream_;
  OpClass op_class_;
  const Reference& reference_;
  std::size_t next_ = 0;
  std::deque<Pending> pending_;  ///< The device writes into them: they must not move.
};

class EmulatorWorkload final : public Workload {
 public:
  explicit EmulatorWorkload(policies::FaultModel model) : device_(std::move(model)) {}

  void initialise() override { device_.initialise(); }
  /// What the executor will find on its own device of the same model.
  Provenance provenance() const override {
    return make_emulator_backend(EmulatorOptions{.model = device_.model()})->provenance();
  }
  std::vector<OpClass> classes() const override {
    return {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph};
  }
  std::size_t max_streams() const noexcept override { return device_.streams(); }
  std::string_view operation(OpClass op_class) const noexcept override {
    return kOperations[index_of(op_class)];
  }
  /// Far beyond what the model says that one operation takes, also on a machine that is busy.
  std::chrono::milliseconds hang_after() const noexcept override {
    const policies::FaultModel::Device& times = device_.model().device;
    const auto rounds = 1 + kMaxThreads / std::max<std::size_t>(times.parallel, 1);
    return std::chrono::milliseconds{2000} + std::chrono::duration_cast<std::chrono::milliseconds>(
                                                 2 * rounds * (times.encode + times.execute));
  }

  void prepare(OpClass op_class) override {
    Reference& reference = references_[index_of(op_class)];
    for (std::size_t i = 0; i < kInputs; ++i) reference.inputs[i] = matrix(i);
    metal::Stream& stream = device_.stream(0);
    for (std::size_t i = 0; i < kInputs; ++i) {
      stream.run_sync([&] {
        stream.encoder().encode(
            {.classes = op_class,
             .label = operation(op_class),
             .kernel =
                 [&reference, i] {
                   multiply(reference.inputs[i], reference.weight, reference.outputs[i]);
                 },
             .output = std::as_writable_bytes(std::span(reference.outputs[i]))});
      });
      if (!stream.synchronize(metal::Clock::now() + std::chrono::seconds{60})) {
        throw std::runtime_error("the emulated device did not finish one operation in 60 s");
      }
    }
  }
  std::unique_ptr<Operations> open(OpClass op_class, StreamIndex stream) override {
    return std::make_unique<EmulatorOperations>(device_.stream(stream), op_class,
                                                references_[index_of(op_class)]);
  }

 private:
  std::array<Reference, policies::kOpClasses> references_{};
  metal::Device device_;
};

}  // namespace

std::unique_ptr<Workload> make_emulator_workload(policies::FaultModel model) {
  return std::make_unique<EmulatorWorkload>(std::move(model));
}

}  // namespace streamgate::executor::probe

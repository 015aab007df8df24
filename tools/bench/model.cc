// SPDX-License-Identifier: Apache-2.0
#include "bench/model.h"

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <charconv>
#include <exception>
#include <stdexcept>

namespace streamgate::tools {
namespace {

/// TorchScript's executor profiles the first runs of a model, and then recompiles it.
constexpr int kWarmUp = 5;

at::Device device_of(std::string_view backend) {
  if (backend == "cuda") return at::kCUDA;
  if (backend == "mps") return at::kMPS;
  return at::kCPU;  // The emulator's tensors are on the CPU, too.
}

/// libtorch's messages end with a C++ stack, which helps nobody who has mistyped a shape.
std::string first_line(const std::exception& error) {
  const std::string what = error.what();
  return what.substr(0, what.find('\n'));
}

}  // namespace

InputShape parse_input_shape(std::string_view text) {
  InputShape shape;
  const auto wrong = [&] {
    return std::invalid_argument(
        "'" + std::string(text) +
        "' is not a shape; allowed: whole numbers from 1 to 2^31 - 1 with x "
        "between them, as 32x256, with :int64 behind it for whole numbers");
  };
  std::string_view sizes = text;
  if (sizes.ends_with(":int64")) {
    shape.whole_numbers = true;
    sizes.remove_suffix(6);
  }
  for (;;) {
    std::int32_t size = 0;
    const auto [end, error] = std::from_chars(sizes.data(), sizes.data() + sizes.size(), size);
    if (error != std::errc() || size < 1) throw wrong();
    shape.sizes.push_back(size);
    sizes.remove_prefix(static_cast<std::size_t>(end - sizes.data()));
    if (sizes.empty()) return shape;
    if (sizes.front() != 'x' || shape.sizes.size() == 8) throw wrong();
    sizes.remove_prefix(1);
  }
}

struct ScriptModel::State {
  mutable torch::jit::Module model;
  std::vector<c10::IValue> inputs;
};

ScriptModel::ScriptModel(const std::filesystem::path& file, const std::vector<InputShape>& inputs,
                         std::string_view backend)
    : state_(std::make_unique<State>()) {
  const at::Device device = device_of(backend);
  try {
    state_->model = torch::jit::load(file.string(), device);
    state_->model.eval();
  } catch (const std::exception& error) {
    throw std::runtime_error(
        file.string() +
        " is not a TorchScript model that this libtorch reads: " + first_line(error));
  }
  for (const InputShape& input : inputs) {
    const auto options = at::TensorOptions().device(device);
    state_->inputs.emplace_back(input.whole_numbers
                                    ? at::zeros(input.sizes, options.dtype(at::kLong))
                                    : at::randn(input.sizes, options.dtype(at::kFloat)));
  }
  try {
    for (int i = 0; i < kWarmUp; ++i) run();
  } catch (const std::exception& error) {
    throw std::runtime_error(file.string() + " does not take this input: " + first_line(error));
  }
}

ScriptModel::~ScriptModel() = default;

void ScriptModel::run() const {
  // Thread-local, so it belongs inside the work, wherever that runs.
  const c10::InferenceMode inference_mode;
  const c10::IValue answer = state_->model.forward(state_->inputs);
  // An answer is one when the host has it, in every way of serving alike.
  if (answer.isTensor() && !answer.toTensor().is_cpu()) static_cast<void>(answer.toTensor().cpu());
}

policies::OpClassSet ScriptModel::classes(const executor::Classifier& classifier) const {
  return classifier.classes_of(state_->model).classes;
}

std::size_t default_intra_op_threads() { return static_cast<std::size_t>(at::get_num_threads()); }
void set_intra_op_threads(std::size_t threads) { at::set_num_threads(static_cast<int>(threads)); }

}  // namespace streamgate::tools

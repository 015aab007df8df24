// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <torch/script.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace inference_server {
namespace {

/// TorchScript's executor profiles the first runs of a module and then recompiles it.
constexpr int kWarmUps = 3;

c10::ScalarType scalar_type(DataType type) {
  switch (type) {
    case DataType::kBool:
      return c10::kBool;
    case DataType::kUint8:
      return c10::kByte;
    case DataType::kInt8:
      return c10::kChar;
    case DataType::kInt16:
      return c10::kShort;
    case DataType::kInt32:
      return c10::kInt;
    case DataType::kInt64:
      return c10::kLong;
    case DataType::kFp32:
      return c10::kFloat;
    case DataType::kFp64:
      break;
  }
  return c10::kDouble;
}

at::Tensor torch_tensor(const Tensor& tensor) {
  // libtorch has no tensors of constants; a model that writes to its input would be a bug of its
  // own.
  void* const bytes = const_cast<std::byte*>(tensor.bytes.data());
  return at::from_blob(bytes, tensor.shape, at::TensorOptions(scalar_type(tensor.type)));
}

Tensor plain_tensor(const TensorSpec& spec, const at::Tensor& result) {
  const at::Tensor tensor = result.to(c10::kCPU).contiguous();
  if (tensor.scalar_type() != scalar_type(spec.type)) {
    throw std::runtime_error("output " + spec.name + " is " + c10::toString(tensor.scalar_type()) +
                             ", not " + std::string(to_string(spec.type)) + " as configured");
  }
  const Shape shape = tensor.sizes().vec();
  const bool fits =
      std::equal(spec.shape.begin(), spec.shape.end(), shape.begin(), shape.end(),
                 [](std::int64_t want, std::int64_t have) { return want < 0 || want == have; });
  if (!fits) {
    throw std::runtime_error("output " + spec.name + " has shape " + to_string(shape) + ", not " +
                             to_string(spec.shape) + " as configured");
  }
  Tensor plain{.name = spec.name, .type = spec.type, .shape = shape, .bytes = {}};
  plain.bytes.resize(tensor.nbytes());
  if (!plain.bytes.empty()) std::memcpy(plain.bytes.data(), tensor.data_ptr(), plain.bytes.size());
  return plain;
}

/// Zeros, with 1 where any size will do.
std::vector<Tensor> example_inputs(const std::vector<TensorSpec>& specs) {
  std::vector<Tensor> inputs;
  for (const TensorSpec& spec : specs) {
    Tensor tensor{.name = spec.name, .type = spec.type, .shape = spec.shape, .bytes = {}};
    std::size_t elements = 1;
    for (std::int64_t& dimension : tensor.shape) {
      dimension = std::max<std::int64_t>(1, dimension);
      elements *= static_cast<std::size_t>(dimension);
    }
    tensor.bytes.resize(elements * size_of(spec.type));
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

streamgate::OpClassSet named_class(std::string_view name) {
  using streamgate::OpClass;
  if (name == "raw") return OpClass::kRaw;
  if (name == "kernel") return OpClass::kKernel;
  if (name == "graph") return OpClass::kGraph;
  if (name == "exclusive") return OpClass::kExclusive;
  return OpClass::kKernel | OpClass::kGraph;
}

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, std::min(text.find('\n'), std::size_t{300})));
}

}  // namespace

struct Model::Module {
  // forward is not const, though it changes nothing that a second thread would see.
  mutable torch::jit::Module script;
};

Model::Model(ModelConfig config, streamgate::Executor& executor)
    : config_(std::move(config)), op_class_(streamgate::OpClass::kKernel) {
  const std::string which = "model " + config_.name + " (" + config_.file.string() + "): ";
  try {
    module_ = std::make_unique<Module>(Module{torch::jit::load(config_.file.string())});
    module_->script.eval();
    op_class_ = config_.op_class.empty() ? executor.classifier().classes_of(module_->script).classes
                                         : named_class(config_.op_class);
    const std::vector<Tensor> zeros = example_inputs(config_.inputs);
    for (int i = 0; i < kWarmUps; ++i) {
      const auto outputs =
          executor.submit({.op_class = op_class_}, [&] { return infer(zeros); }).get();
      if (!outputs) throw std::runtime_error(std::string(to_string(outputs.outcome())));
    }
  } catch (...) {
    throw std::runtime_error(which + message_of(std::current_exception()));
  }
}

Model::~Model() = default;

std::vector<Tensor> Model::infer(std::span<const Tensor> inputs) const {
  const c10::InferenceMode inference_mode;  // Thread-local, so it belongs inside the task.
  std::vector<c10::IValue> arguments;
  for (const Tensor& input : inputs) arguments.emplace_back(torch_tensor(input));
  const c10::IValue result = module_->script.forward(std::move(arguments));
  std::vector<at::Tensor> results;
  if (result.isTensor()) {
    results.push_back(result.toTensor());
  } else if (result.isTuple()) {
    for (const c10::IValue& each : result.toTupleRef().elements()) {
      if (!each.isTensor()) throw std::runtime_error("the module returns more than tensors");
      results.push_back(each.toTensor());
    }
  } else if (result.isTensorList()) {
    results = result.toTensorVector();
  }
  if (results.size() != config_.outputs.size()) {
    throw std::runtime_error("the module returns " + std::to_string(results.size()) +
                             " tensors, not " + std::to_string(config_.outputs.size()) +
                             " as configured");
  }
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < results.size(); ++i) {
    outputs.push_back(plain_tensor(config_.outputs[i], results[i]));
  }
  return outputs;
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const c10::Error& failure) {
    return first_line(failure.what_without_backtrace());
  } catch (const std::exception& failure) {
    return first_line(failure.what());
  } catch (...) {
    return "unknown error";
  }
}

}  // namespace inference_server

// SPDX-License-Identifier: Apache-2.0
//
// Packages, where this libtorch has them. A package tells how many tensors it takes and gives, and
// for which device it was made; nothing else of its arguments is known here, and its code reads
// where it expects them, so that the number and the device are checked before.
#include <streamgate/executor/internal/package_target.h>

#include <streamgate/policies/op_class.h>

#include <ATen/core/jit_type.h>
#include <torch/version.h>

#define STREAMGATE_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) ||             \
   (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

#if STREAMGATE_TORCH_AT_LEAST(2, 6) && \
    __has_include(<torch/csrc/inductor/aoti_package/model_package_loader.h>)
#define STREAMGATE_HAS_PACKAGES 1
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#else
#define STREAMGATE_HAS_PACKAGES 0
#endif

#include <type_traits>
#include <utility>
#include <vector>

namespace streamgate::executor {
namespace {

[[noreturn]] void refuse(const ModuleFile& file, const std::string& why) {
  throw OperationError("package " + file.name + ": " + file.path.string() + ": " + why);
}

#if STREAMGATE_HAS_PACKAGES

/// Calls of one package that run side by side, where libtorch allows more than one: a runner is the
/// code once more, and its weights are shared. Who finds none free waits in libtorch.
constexpr std::size_t kRunners = 16;

using Loader = torch::inductor::AOTIModelPackageLoader;

/// Later versions take a number of runners and the index of the device. Dependent on its argument,
/// as only so is what a version lacks not compiled.
template <typename T>
std::unique_ptr<T> make_loader(const std::string& path, c10::Device device) {
  if constexpr (std::is_constructible_v<T, std::string, std::string, bool, std::size_t,
                                        c10::DeviceIndex>) {
    return std::make_unique<T>(path, "model", false, kRunners, device.index());
  } else {
    static_cast<void>(device);
    return std::make_unique<T>(path);
  }
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

c10::FunctionSchema schema_of(std::size_t inputs, std::size_t outputs) {
  std::vector<c10::Argument> arguments;
  for (std::size_t i = 0; i < inputs; ++i) {
    arguments.emplace_back("input_" + std::to_string(i), c10::TensorType::get());
  }
  std::vector<c10::Argument> results;
  for (std::size_t i = 0; i < outputs; ++i) results.emplace_back("", c10::TensorType::get());
  return {"forward", "", std::move(arguments), std::move(results)};
}

class LoadedPackage final : public Package {
 public:
  LoadedPackage(const ModuleFile& file, c10::Device device)
      : name_(file.name),
        device_(device),
        loader_(load(file, device)),
        schema_(make_schema(file)) {}

  const c10::FunctionSchema& schema() const noexcept override { return schema_; }

  void run(torch::jit::Stack& stack) const override {
    std::vector<at::Tensor> inputs;
    inputs.reserve(stack.size());
    for (const c10::IValue& value : stack) {
      const at::Tensor& input = value.toTensor();
      if (!input.defined() || input.device().type() != device_.type()) {
        throw OperationError(name_ + ": argument " + std::to_string(inputs.size()) + " is on " +
                             (input.defined() ? input.device().str() : "no device") +
                             ", and the package was compiled for " + device_.str() +
                             "; remedy: move it there, or CallOptions::data = Data::kHost");
      }
      inputs.push_back(input);
    }
    std::vector<at::Tensor> outputs = loader_->run(inputs);
    stack.clear();
    for (at::Tensor& output : outputs) stack.emplace_back(std::move(output));
  }

 private:
  static std::unique_ptr<Loader> load(const ModuleFile& file, c10::Device device) {
    try {
      auto loader = make_loader<Loader>(file.path.string(), device);
      const auto metadata = loader->get_metadata();
      const auto made_for = metadata.find("AOTI_DEVICE_KEY");
      const std::string wanted = c10::DeviceTypeName(device.type(), /*lower_case=*/true);
      if (made_for != metadata.end() && made_for->second != wanted) {
        refuse(file, "was compiled for " + made_for->second + ", and the executor's device is " +
                         wanted + "; remedy: export it for that device");
      }
      return loader;
    } catch (const OperationError&) {
      throw;
    } catch (const std::exception& error) {
      refuse(file, "is no package that this libtorch (" TORCH_VERSION ") can load: " +
                       first_line(error.what()) +
                       "; remedy: compile it with torch._inductor.aoti_compile_and_package of the "
                       "same version, for the device of the executor");
    }
  }

  c10::FunctionSchema make_schema(const ModuleFile& file) const {
    const std::vector<std::string> spec = loader_->get_call_spec();
    if (spec.size() != 2) refuse(file, "does not say what it takes and gives");
    return schema_of(leaves_of(spec[0]), leaves_of(spec[1]));
  }

  const std::string name_;
  const c10::Device device_;
  const std::unique_ptr<Loader> loader_;
  const c10::FunctionSchema schema_;
};

#endif

class PackageTarget final : public OperationTarget {
 public:
  PackageTarget(Facts facts, std::shared_ptr<const Package> package)
      : OperationTarget(std::move(facts)), package_(std::move(package)) {}

  const c10::FunctionSchema& schema() const noexcept override { return package_->schema(); }
  Effects effects(const std::vector<c10::IValue>&) const override { return Effects::kNone; }
  void run(torch::jit::Stack& stack) const override { package_->run(stack); }
  const char* why_no_graph() const noexcept override {
    return "a package waits for its runners by events, which a capture cannot hold";
  }

 private:
  const std::shared_ptr<const Package> package_;
};

}  // namespace

bool is_package(const ModuleFile& file) { return file.path.extension() == ".pt2"; }

std::shared_ptr<const Package> load_package(const ModuleFile& file,
                                            [[maybe_unused]] c10::Device device) {
#if STREAMGATE_HAS_PACKAGES
  return std::make_shared<const LoadedPackage>(file, device);
#else
  refuse(file, "this libtorch (" TORCH_VERSION
               ") has no AOTInductor packages; remedy: libtorch 2.6 or later, or a TorchScript "
               "module");
#endif
}

std::shared_ptr<const OperationTarget> make_package_target(std::string name, const ModuleFile& file,
                                                           std::shared_ptr<const Package> package,
                                                           c10::Device device) {
  // Compiled code launches kernels of its own, which is raw work on the CPU and on CUDA; elsewhere
  // nobody knows.
  const bool is_raw = device.is_cpu() || device.is_cuda();
  return std::make_shared<const PackageTarget>(
      OperationTarget::Facts{.kind = Operation::Kind::kPackage,
                             .name = std::move(name),
                             .op_class = is_raw ? policies::OpClassSet(policies::OpClass::kRaw)
                                                : policies::kUnknownOpClass,
                             .gives_views = false,
                             .first_argument = 0,
                             .module = file},
      std::move(package));
}

std::size_t leaves_of(std::string_view call_spec) noexcept {
  constexpr std::string_view kType = "\"type\":";
  constexpr std::string_view kNull = "null";
  std::size_t leaves = 0;
  for (std::size_t at = call_spec.find(kType); at != call_spec.npos;
       at = call_spec.find(kType, at)) {
    at += kType.size();
    while (at < call_spec.size() && call_spec[at] == ' ') ++at;
    if (call_spec.substr(at).starts_with(kNull)) ++leaves;
  }
  return leaves;
}

}  // namespace streamgate::executor

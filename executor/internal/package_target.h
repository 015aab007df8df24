// SPDX-License-Identifier: Apache-2.0
//
// AOTInductor packages (.pt2): models that were compiled ahead, for one device, to machine code
// that libtorch 2.6 and later loads. Here they become operations; which names they have is the
// registry's business.
#pragma once

#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/internal/operation_target.h>

#include <c10/core/Device.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace streamgate::executor {

/// A loaded package. Shared by the registry and its operations.
class Package {
 public:
  virtual ~Package() = default;
  /// Runs on this thread, on its current stream. Throws OperationError for tensors elsewhere than
  /// on the package's device.
  virtual void run(torch::jit::Stack& stack) const = 0;
  [[nodiscard]] virtual const c10::FunctionSchema& schema() const noexcept = 0;
};

/// Whether the file's name says that it is one.
[[nodiscard]] bool is_package(const ModuleFile& file);

/// Loads it. Its code comes into this process. Throws OperationError for a libtorch that has no
/// packages, a file that is none, and one that was compiled for another kind of device.
[[nodiscard]] std::shared_ptr<const Package> load_package(const ModuleFile& file,
                                                          c10::Device device);

/// "encoder.forward" of a package registered as "encoder".
[[nodiscard]] std::shared_ptr<const OperationTarget> make_package_target(
    std::string name, const ModuleFile& file, std::shared_ptr<const Package> package,
    c10::Device device);

/// The tensors that a tree of arguments or results has, as torch.export writes such a tree: the
/// places in it that are no container.
[[nodiscard]] std::size_t leaves_of(std::string_view call_spec) noexcept;

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// A call as values: what a host asks a worker, and how a worker that knows nothing of the host's
// operations finds and runs the one that is meant. How values go through a channel is the codec's
// business.
#pragma once

#include <streamgate/executor/call.h>
#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/operation.h>

#include <ATen/core/ivalue.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// The request: name, file of the module if it is a method's, where the tensors belong, arguments.
[[nodiscard]] std::vector<c10::IValue> request_values(const Operation& operation,
                                                      const std::vector<c10::IValue>& arguments,
                                                      Data data = Data::kAsGiven);

/// What a worker is told before its first call, as text for CallRunner::prepare: the device of its
/// host's calls, as libtorch names it, and modules to load.
[[nodiscard]] std::string configuration_text(std::string_view device);
[[nodiscard]] std::string modules_text(const std::vector<ModuleFile>& files);

/// Runs requests in the process that it lives in.
///
/// Thread-safety: externally synchronised. Ownership: of the modules, which are loaded once.
/// Blocking: prepare, and the first call of a module's method, load its file. Failure: CodecError
/// for what is no request, OperationError as Operation, and what the operation throws. Nothing of a
/// request is believed: names are resolved, arguments bound, files compared with their digests.
///
///     RequestRunner runner;
///     runner.prepare(configuration);
///     c10::IValue result = runner.run(decode(std::move(block), channel));
class RequestRunner {
 public:
  /// `text` is of configuration_text and modules_text; without the first the device is the CPU.
  void prepare(std::string_view text);
  [[nodiscard]] c10::Device device() const { return modules_->device(); }
  /// Finds the operation, and loads its module where that is new, so that run does nothing else.
  /// Whether it has run here so seldom that libtorch still loads and compiles for it.
  [[nodiscard]] bool resolve(const std::vector<c10::IValue>& request) {
    return find(request).runs < kFirstRuns;
  }
  [[nodiscard]] c10::IValue run(std::vector<c10::IValue> request);

 private:
  /// TorchScript compiles a method at its second run, by what it saw at its first.
  static constexpr std::size_t kFirstRuns = 3;
  struct Known {
    Operation operation;
    std::size_t runs = 0;
  };
  [[nodiscard]] Known& find(const std::vector<c10::IValue>& request);

  std::unique_ptr<ModuleRegistry> modules_ = std::make_unique<ModuleRegistry>("cpu");
  std::map<std::string, Known, std::less<>> operations_;
};

}  // namespace streamgate::executor

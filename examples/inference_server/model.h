// SPDX-License-Identifier: Apache-2.0
//
// A TorchScript model and what its config says of it. It is loaded, warmed up and held against that
// once; who may ask it, and when, is the executor's business. Free of libtorch's headers.
#pragma once

#include "server_config.h"
#include "tensor.h"

#include <streamgate/executor.h>

#include <memory>
#include <span>
#include <vector>

namespace inference_server {

/// Thread-safe. Ownership: of the module. Blocking: the constructor loads the file and runs it a
/// few times, through the executor. Failure: it throws std::runtime_error that names model and file
/// when the file cannot be loaded, or the module does not take and return what the config says.
class Model {
 public:
  Model(ModelConfig config, streamgate::Executor& executor);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] const ModelConfig& config() const noexcept { return config_; }
  [[nodiscard]] streamgate::OpClassSet op_class() const noexcept { return op_class_; }

  /// For a task. Throws what the module throws, and std::runtime_error where it returns something
  /// else than the config says. REQUIRES: inputs as parse_infer_request leaves them.
  [[nodiscard]] std::vector<Tensor> infer(std::span<const Tensor> inputs) const;

 private:
  struct Module;
  ModelConfig config_;
  std::unique_ptr<Module> module_;
  streamgate::OpClassSet op_class_;
};

/// What an exception of a task says to a client: libtorch's without its backtrace, in one line.
[[nodiscard]] std::string message_of(const std::exception_ptr& error);

}  // namespace inference_server

// SPDX-License-Identifier: Apache-2.0
//
// The server's own config: where it listens, what it bounds, and its models. The executor's is a
// file of its own, which is reloaded while the server runs; this one is read once.
#pragma once

#include "http_server.h"
#include "tensor.h"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace inference_server {

struct ModelConfig {
  std::string name;
  std::string version = "1";
  std::filesystem::path file;       ///< TorchScript.
  std::string op_class;             ///< Empty: learned from its first runs.
  std::vector<TensorSpec> inputs;   ///< In the order of forward's parameters.
  std::vector<TensorSpec> outputs;  ///< In the order of what it returns.
};

struct ServerConfig {
  HttpOptions http{};
  /// Requests that are read, wait or run at once; one more is answered 429, before its body is
  /// looked at, unless its priority is high.
  std::size_t max_in_flight = 64;
  std::chrono::milliseconds default_deadline{10'000};  ///< Of a request that names none.
  std::chrono::milliseconds drain_timeout{30'000};
  std::filesystem::path executor_config;  ///< Empty: the defaults, and nothing to reload.
  std::vector<ModelConfig> models;
};

/// A config that cannot be used. what() names file, line, key and what is allowed.
class ServerConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Paths in it are relative to its folder. Throws ServerConfigError.
[[nodiscard]] ServerConfig load_server_config(const std::filesystem::path& file);

}  // namespace inference_server

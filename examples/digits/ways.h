// SPDX-License-Identifier: Apache-2.0
//
// The ways of serving one TorchScript model to many threads that are compared here: what a service
// would write without Streamgate, and with it. Free of libtorch's headers, as digit_model.h.
#pragma once

#include "idx_dataset.h"
#include "load_generator.h"

#include <streamgate/executor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace digits {

/// A model from a TorchScript file, the test digits as its input, and ways to bring them together.
///
/// Thread-safety: thread-safe; the ways' functions too. Ownership: owns model and digits, borrows
/// the executor; the ways borrow both. Blocking: the constructor, while it reads the file.
/// Failure: the constructor throws c10::Error for a file that is no TorchScript model.
///
///     ModelServer server(model_file, test_digits, executor);
///     const Measurement measurement = measure(server.through_streamgate(), load);
class ModelServer {
 public:
  ModelServer(const std::filesystem::path& model_file, const Dataset& test,
              streamgate::Executor& executor);
  ~ModelServer();
  ModelServer(const ModelServer&) = delete;
  ModelServer& operator=(const ModelServer&) = delete;

  /// Each client calls forward on its own thread, with so many intra-op threads.
  [[nodiscard]] Way plain_threads(std::size_t intra_op_threads) const;
  /// The same, one at a time.
  [[nodiscard]] Way global_mutex(std::size_t intra_op_threads) const;
  /// Each client gives the call to Executor::run.
  [[nodiscard]] Way streamgate_run() const;
  /// Each client gives the call to Executor::submit, and waits for the future.
  [[nodiscard]] Way streamgate_submit() const;

  /// The model's answer for each test digit, by this thread alone.
  [[nodiscard]] std::vector<std::int64_t> answers() const;
  /// libtorch's default of intra-op threads, before anybody has changed it.
  [[nodiscard]] std::size_t default_intra_op_threads() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace digits

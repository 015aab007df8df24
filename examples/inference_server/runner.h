// SPDX-License-Identifier: Apache-2.0
//
// Where an admitted request is run: on Streamgate's executor or, for the comparison in the docs, on
// the pool of threads that a server would otherwise have.
#pragma once

#include "model.h"
#include "tensor.h"

#include <streamgate/executor.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace inference_server {

struct RunOptions {
  streamgate::Clock::time_point deadline = streamgate::Clock::time_point::max();
  streamgate::Priority priority = streamgate::Priority::kNormal;
  std::size_t cost_bytes = 0;
  std::optional<streamgate::TraceContext> trace{};
};

/// How a run ended; `error` is the model's own, of Outcome::kFailed.
struct RunResult {
  streamgate::Outcome outcome = streamgate::Outcome::kOk;
  std::vector<Tensor> outputs{};
  std::string error{};
};

/// Thread-safe. run blocks until the run has ended; `gone` is asked now and then whether anybody
/// still waits for it.
class Runner {
 public:
  virtual ~Runner() = default;
  [[nodiscard]] virtual RunResult run(const Model& model, const std::vector<Tensor>& inputs,
                                      const RunOptions& options,
                                      const std::function<bool()>& gone) = 0;
};

[[nodiscard]] std::unique_ptr<Runner> make_executor_runner(streamgate::Executor& executor);
/// So many threads, a queue without a bound, and neither deadlines nor priorities.
[[nodiscard]] std::unique_ptr<Runner> make_plain_pool_runner(std::size_t threads);

}  // namespace inference_server

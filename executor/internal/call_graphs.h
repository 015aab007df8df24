// SPDX-License-Identifier: Apache-2.0
//
// Calls on a device: where their tensors go, and which of them the graph cache is asked for. How a
// graph is captured and kept is the cache's business, and what a call is the operation's.
#pragma once

#include <streamgate/executor/backends/graph_cache.h>
#include <streamgate/executor/call.h>
#include <streamgate/executor/operation.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/task.h>

#include <ATen/core/ivalue.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace streamgate::executor {

/// The graphs of one executor's calls.
///
/// Thread-safety: run may be called from any number of tasks. Ownership: borrows the executor, owns
/// the cache. Blocking: as GraphCache. Failure: what the operation throws; NotCapturable, which
/// names the operation, to who insists on a graph.
///
///     CallGraphs graphs(executor, make_cuda_graphs(config), {});
///     IValue result = graphs.run(context, operation, arguments, GraphUse::kAuto, Data::kHost);
class CallGraphs {
 public:
  CallGraphs(Executor& executor, std::unique_ptr<GraphDevice> device, GraphCacheOptions options)
      : cache_(executor, std::move(device), options) {}

  /// Inside a task. The arguments are as Operation::bind gave them.
  [[nodiscard]] c10::IValue run(TaskContext& context, const Operation& operation,
                                std::vector<c10::IValue> arguments, GraphUse use, Data data);

  [[nodiscard]] GraphsSnapshot snapshot() const { return cache_.snapshot(); }

 private:
  [[nodiscard]] c10::IValue run_plainly(const Operation& operation,
                                        std::vector<c10::IValue> arguments, Data data);

  GraphCache cache_;
};

/// Where there is no device but the host's memory, or nobody asks for graphs: runs the operation,
/// its tensors on `device` if `data` says that they come from the host.
[[nodiscard]] c10::IValue run_on(at::Device device, const Operation& operation,
                                 std::vector<c10::IValue> arguments, Data data);

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// How a call wants to be treated: a task that names its operation, and that another process may
// therefore run. What an operation is, is in operation.h; what any task may ask for, in task.h.
#pragma once

#include <streamgate/executor/task.h>
#include <streamgate/policies/op_class.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string_view>

namespace streamgate::executor {

/// Where a call may run.
enum class Place : std::uint8_t {
  kAnywhere,  ///< Here, or in a worker process if the overflow policy says so and it can.
  kHere,      ///< In this process only.
  kWorker     ///< In a worker process only: for work that may take its process down.
};

/// Whether a call that may have run may be run once more, elsewhere, when its worker has died.
enum class Repeat : std::uint8_t {
  kByOperation,  ///< If it has no effects (Operation::effects).
  kAllowed,      ///< Twice does no harm.
  kNever
};

/// Whether a call is captured as a graph of the device and replayed from then on. A replay gives
/// what a run would give; what cannot be captured is run, every time.
enum class GraphUse : std::uint8_t {
  kAuto,    ///< After a few uses with the same shapes, if it can be and a replay saves something.
  kAlways,  ///< At the first use, a TorchScript method's third, as libtorch compiles it until then;
            ///< a call that cannot be captured fails, and says why.
  kNever
};

/// Where a call's tensors are.
enum class Data : std::uint8_t {
  kAsGiven,  ///< Where the operation takes them; its results stay where it makes them.
  kHost      ///< On the host: copied to the executor's device and back, where that is another.
};

/// All fields have defaults; use designated initialisers. What is not said here is as in
/// TaskOptions.
struct CallOptions {
  std::optional<policies::OpClassSet> op_class{};  ///< Nothing: the operation's.
  Priority priority = Priority::kNormal;
  Clock::time_point deadline = Clock::time_point::max();
  std::stop_token stop{};
  std::optional<std::size_t> cost_bytes{};  ///< Nothing: the bytes of the tensors in the arguments.
  /// Nothing: none, or what was learned of the operation where memory.learn_calls says so.
  std::optional<std::size_t> memory_bytes{};
  std::string_view name{};
  std::optional<TraceContext> trace{};
  Place place = Place::kAnywhere;
  Repeat repeat = Repeat::kByOperation;
  /// On a device without graphs kAuto is kNever, and kAlways an OperationError.
  GraphUse graph = GraphUse::kAuto;
  Data data = Data::kAsGiven;
};

}  // namespace streamgate::executor

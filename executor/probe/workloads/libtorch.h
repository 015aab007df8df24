// SPDX-License-Identifier: Apache-2.0
//
// What is probed of libtorch's own devices: one operator of each op class, past gate and queue,
// straight on the backend's streams.
#pragma once

#include <streamgate/executor/probe/workload.h>

#include <memory>
#include <string_view>

namespace streamgate::executor::probe {

/// One class, raw: a linear of 32x256x256 on one intra-op thread. libtorch's CPU operators survive
/// any width, so what is measured is their throughput.
[[nodiscard]] std::unique_ptr<Workload> make_cpu_workload();

/// Raw: add. Kernel: linear of contiguous tensors. Graph: log_softmax, and linear instead where
/// MPS_FORCE_GRAPH_PATH is in the environment, which takes linear from kernel to graph (facts 1.4).
[[nodiscard]] std::unique_ptr<Workload> make_mps_workload();

/// The C++ expression of the class's operator, of the tensors x, weight and bias, for a program that
/// shows what it does; empty where the backend has none.
[[nodiscard]] std::string_view torch_expression(std::string_view backend,
                                                policies::OpClass op_class) noexcept;

}  // namespace streamgate::executor::probe

// SPDX-License-Identifier: Apache-2.0
//
// libtorch's CUDA for the probe: eager operations as raw, captures as graph, as the executor does
// both.
#pragma once

#include <streamgate/executor/backends/cuda_graph.h>
#include <streamgate/executor/probe/workload.h>

#include <memory>

namespace streamgate::executor::probe {

[[nodiscard]] std::unique_ptr<Workload> make_cuda_workload(CaptureMode mode);

}  // namespace streamgate::executor::probe

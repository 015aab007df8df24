// SPDX-License-Identifier: Apache-2.0
//
// What is probed of the CPU: its throughput. libtorch's CPU operators survive any width.
#pragma once

#include <streamgate/executor/probe/workload.h>

#include <memory>

namespace streamgate::executor::probe {

/// One class, raw: a linear of 32x256x256 on one intra-op thread.
[[nodiscard]] std::unique_ptr<Workload> make_cpu_workload();

}  // namespace streamgate::executor::probe

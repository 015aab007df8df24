// SPDX-License-Identifier: Apache-2.0
//
// libtorch on the CPU: a stream is a share of the cores.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <memory>

namespace streamgate::executor {

[[nodiscard]] std::unique_ptr<Backend> make_cpu_backend();

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/serve.h>

#if defined(__linux__) && STREAMGATE_WITH_TORCH
#include <streamgate/executor/workers/torch_runner.h>
#include <streamgate/executor/workers/worker_program.h>
#endif

namespace streamgate::executor {

std::optional<int> serve_as_worker([[maybe_unused]] int argc,
                                   [[maybe_unused]] const char* const* argv) {
#if defined(__linux__) && STREAMGATE_WITH_TORCH
  return serve_as_worker(argc, argv, *make_torch_runner());
#else
  return std::nullopt;
#endif
}

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// CUDA graphs: how a call is captured, beside raw work and one at a time, and what a captured one
// does when it is replayed. When to capture is the graph cache's, and the permit the executor's.
#pragma once

#include <streamgate/executor/backends/graph_cache.h>
#include <streamgate/policies/config.h>

#include <memory>
#include <string_view>

namespace streamgate::executor {

/// How much of CUDA a thread may use while another captures, in CUDA's words.
enum class CaptureMode : std::uint8_t {
  kGlobal,       ///< Nothing unsafe anywhere: raw work beside a capture breaks it, and both die.
  kThreadLocal,  ///< Nothing unsafe on the capturing thread.
  kRelaxed
};

/// Of "global", "thread_local" or "relaxed"; throws std::invalid_argument for another word.
[[nodiscard]] CaptureMode capture_mode_of(std::string_view word);

/// Captures on the current stream of the calling thread, in config.cuda.capture_mode.
///
/// A captured call has static inputs and the graph's own pool of memory. Inputs on the host and
/// results on the host are part of the graph, by way of pinned buffers: then a replay is one call
/// of the driver.
[[nodiscard]] std::unique_ptr<GraphDevice> make_cuda_graphs(const policies::Config& config);

/// The same in any mode, for the probe and experiments.
[[nodiscard]] std::unique_ptr<GraphDevice> make_cuda_graphs(std::size_t device, CaptureMode mode);

}  // namespace streamgate::executor

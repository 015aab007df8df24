// SPDX-License-Identifier: Apache-2.0
//
// The executor as it is benchmarked.
#include "baselines.h"

namespace streamgate::bench {

ExecutorOptions Streamgate::options(std::size_t threads, Metrics metrics) {
  ExecutorOptions options;
  options.config.executor.backend = "inline";
  options.config.executor.threads = threads;
  options.config.metrics.enabled = metrics == Metrics::kOn;
  return options;
}

}  // namespace streamgate::bench

// SPDX-License-Identifier: Apache-2.0
//
// The smallest C++ program that shows a failure which the probe found, for a bug report: it needs
// no probe and no executor. The texts only; writing files is the command's business.
#pragma once

#include <streamgate/executor/probe/trial_runner.h>
#include <streamgate/executor/probe/workload.h>

#include <optional>
#include <string>

namespace streamgate::executor::probe {

struct Reproducer {
  std::string program{};       ///< One source file, complete in itself.
  std::string instructions{};  ///< In Markdown: how to compile and run it, and what was seen where.
};

/// Nothing for a backend whose operations have no program yet. Throws what reading the fault model
/// throws.
[[nodiscard]] std::optional<Reproducer> reproducer_of(const WorkloadOptions& workload,
                                                      const Failure& failure,
                                                      const policies::Provenance& provenance);

}  // namespace streamgate::executor::probe

// SPDX-License-Identifier: Apache-2.0
//
// What the probe measured, as people read it and as programs do.
#pragma once

#include <streamgate/executor/probe/probe.h>

#include <string>

namespace streamgate::tools {

/// A table of classes, the pairs that exclude each other, and the evidence of each failure.
[[nodiscard]] std::string render_probe_text(const executor::probe::ProbeReport& report);

/// One JSON object, with the fields of docs/probe.md, always all of them.
[[nodiscard]] std::string render_probe_json(const executor::probe::ProbeReport& report);

/// "SIGSEGV at kernel:3, aten::linear, thread 2, iteration 17": one failure in one line.
[[nodiscard]] std::string failure_line(const executor::probe::Failure& failure);

}  // namespace streamgate::tools

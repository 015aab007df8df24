// SPDX-License-Identifier: Apache-2.0
//
// What is probed of the emulated Metal: encodes of each class with a little real arithmetic, past
// the executor, straight to the model of the device.
#pragma once

#include <streamgate/executor/probe/workload.h>
#include <streamgate/policies/fault_model.h>

#include <memory>

namespace streamgate::executor::probe {

[[nodiscard]] std::unique_ptr<Workload> make_emulator_workload(policies::FaultModel model);

}  // namespace streamgate::executor::probe

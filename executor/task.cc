// SPDX-License-Identifier: Apache-2.0
//
// What a task node does by itself: hear of its stop_token and of its stream.
#include <streamgate/executor/task.h>

#include <streamgate/executor/internal/core.h>

namespace streamgate::executor {

void TaskNode::CancelOnStop::operator()() const noexcept {
  // When the node cannot be claimed yet, the word that this leaves is read once it can.
  static_cast<void>(Core::cancel(*node));
}

void TaskNode::watch(const std::stop_token& stop) {
  if (stop.stop_possible()) stop_callback_.emplace(stop, CancelOnStop{this});
}

void TaskNode::on_stream_done() noexcept { core.stream_done(*this); }

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
//
// Has the outermost operators that a thread calls encoded. libtorch has done the maths on the CPU
// by then; what the emulator adds is where and when Metal would have encoded it, and what that may
// lead to.
#include <streamgate/executor/backends/emulator/op_observer.h>

#include <streamgate/executor/internal/op_calls.h>

namespace streamgate::executor::emulator::internal {
namespace {

/// These hand a number to the host, and encode nothing but the wait for it.
bool reads_back(std::string_view name) {
  return name == "aten::item" || name == "aten::_local_scalar_dense" || name == "aten::is_nonzero";
}

class Encodes final : public OpListener {
 public:
  Takes begins(const OpCall& call) noexcept override {
    if (!operators_are_encoded() || reads_back(call.name())) return Takes::kIt;
    // Metal encodes nothing for a view.
    if (call.is_view()) return Takes::kWhatItCalls;
    classes_ = class_of_operator(call.name());
    return classes_ || !call.is_made_of_others() ? Takes::kIt : Takes::kWhatItCalls;
  }

  void ended(const OpCall& call) noexcept override {
    if (!operators_are_encoded()) return;
    if (reads_back(call.name())) {
      wait_for_operators();
    } else {
      encode_operator(call.name(), classes_.value_or(policies::kUnknownOpClass),
                      call.floating_point_memory());
    }
  }

 private:
  std::optional<policies::OpClassSet> classes_;  ///< Of the operator that it took.
};

}  // namespace

void observe_operators_of_this_thread() {
  thread_local bool observed = false;
  // Never destroyed, as there is nothing to destroy: operators that other thread_local objects
  // call at the end of the thread find it.
  thread_local Encodes listener;
  if (observed) return;
  observed = true;
  // It is not taken back: between tasks it sees at once that there is nothing to do.
  start_listening(listener);
}

}  // namespace streamgate::executor::emulator::internal

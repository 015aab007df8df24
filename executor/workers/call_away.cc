// SPDX-License-Identifier: Apache-2.0
//
// A call's way through a channel: which calls may go, how one is written, how its end is read.
#include <streamgate/executor/internal/call_node.h>
#include <streamgate/executor/internal/core.h>
#include <streamgate/executor/workers/call_request.h>
#include <streamgate/executor/workers/fingerprint.h>
#include <streamgate/executor/workers/tensor_memory.h>
#include <streamgate/executor/workers/worker_overflow.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue_inl.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <stdexcept>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::IValue;

/// Whether a worker could be sent it at all, at a glance; the codec looks closely.
bool is_in_memory(const IValue& value) {
  if (value.isTensor()) return !value.toTensor().defined() || value.toTensor().device().is_cpu();
  if (value.isTensorList()) {
    for (const IValue& element : value.toListRef()) {
      if (!is_in_memory(element)) return false;
    }
  }
  return true;
}

}  // namespace

std::optional<PortableCall::Traits> traits_of(const CallOptions& options, const Call& call,
                                              const Core& core) {
  if (options.place == Place::kHere) return std::nullopt;
  const bool must = options.place == Place::kWorker;
  const auto refuse = [&](const char* why) {
    if (must) {
      throw OperationError(call.operation.name() + ": the call shall run in a worker, " + why);
    }
    return std::nullopt;
  };
  if (core.overflow() == nullptr) return refuse("and this executor has none");
  if (options.graph == GraphUse::kAlways) return refuse("but is to be captured as a graph here");
  const Effects effects = call.operation.effects(call.arguments);
  if (effects == Effects::kWrites) return refuse("but it writes to what only this process has");
  if (!must && (effects == Effects::kChance || call.operation.gives_views())) return std::nullopt;
  // Alone means alone on the device, which workers may share.
  const policies::OpClassSet classes = options.op_class.value_or(call.operation.op_class());
  if (classes.contains(policies::OpClass::kExclusive)) return refuse("but is to run alone");
  PortableCall::Traits traits{.place = options.place};
  for (const IValue& argument : call.arguments) {
    if (!is_in_memory(argument)) return refuse("but has tensors on a device");
    if (argument.isTensor() && traits.prefer_worker == 0) {
      traits.prefer_worker = owner_of(argument.toTensor());
    }
  }
  traits.operation = kind_of(call.operation.name(), call.arguments);
  traits.repeatable = options.repeat == Repeat::kAllowed ||
                      (options.repeat == Repeat::kByOperation && effects == Effects::kNone);
  return traits;
}

at::Tensor empty_shared(Core& core, const std::vector<std::int64_t>& sizes, c10::ScalarType dtype) {
  at::Tensor ordinary = at::empty(sizes, dtype);
  if (core.overflow() == nullptr || ordinary.nbytes() == 0) return ordinary;
  auto shared = static_cast<WorkerOverflow&>(*core.overflow()).pool().allocate(ordinary.nbytes());
  if (!shared) return ordinary;
  auto block = std::make_shared<const Block>(std::move(shared->block));
  return tensor_in(
      tensor_memory(std::move(block), 0, shared->worker), ordinary.nbytes(),
      {.dtype = dtype, .sizes = ordinary.sizes().vec(), .strides = ordinary.strides().vec()});
}

std::uint64_t CallAway::fingerprint() const noexcept {
  return fingerprint_of(call_.operation.name(), call_.arguments);
}

BlockReference CallAway::write(Channel& to_worker) {
  const auto encoded = [&] {
    try {
      // An idle worker's arena is empty but for what is lent to results' owners: to wait would not
      // help soon.
      return executor::encode(request_values(call_.operation, call_.arguments, call_.data),
                              to_worker, Clock::now());
    } catch (const CodecError&) {
      does_not_fit = true;
      throw;
    }
  };
  std::optional<EncodedValues> request = encoded();
  if (!request) {
    if (to_worker.end() != ChannelEnd::kOpen) throw ChannelError(to_worker.end(), "no more room");
    does_not_fit = true;
    throw std::runtime_error(call_.operation.name() +
                             ": the arguments do not fit into overflow.arena_bytes");
  }
  encoded_.emplace(*std::move(request));
  return encoded_->frame();
}

void CallAway::sent() noexcept {
  encoded_->sent();
  encoded_.reset();
}

void CallAway::not_sent(Channel&) noexcept { encoded_.reset(); }

void CallAway::hold() noexcept {
  if (node.door == TaskNode::Door::kSubmit) state_.add_reference();
}

void CallAway::let_go() noexcept {
  if (node.door == TaskNode::Door::kSubmit) state_.release();
}

void CallAway::recall() noexcept {
  const std::uint64_t with_pool = number.load(std::memory_order_seq_cst);
  if (with_pool == 0) return;
  const std::shared_ptr<WorkerDoor> way = door;
  way->cancel(with_pool);
}

void CallAway::keep_evidence(Outcome outcome, const std::string& evidence) noexcept {
  try {
    state_.keep_error(std::make_exception_ptr(OutcomeError(outcome, evidence)));
  } catch (const std::exception&) {
    // No memory for it: the outcome says the most of it.
  }
}

Outcome CallAway::take(CallEnd& end) noexcept {
  switch (end.result) {
    case CallResult::kDone: {
      const Outcome outcome = state_.keep([&] {
        std::vector<IValue> values = decode(std::move(end.response), *end.channel);
        if (values.size() != 1) throw CodecError("a worker answered with several values");
        return std::move(values.front());
      });
      // A process that writes what nobody can read is not asked again.
      if (outcome != Outcome::kOk) end.channel->close(ChannelEnd::kBadMessage);
      return outcome;
    }
    case CallResult::kFailed:
      // As libtorch throws it here.
      state_.keep_error(std::make_exception_ptr(
          c10::Error({"streamgate worker", call_.operation.name().c_str(), 0}, end.text)));
      return Outcome::kFailed;
    case CallResult::kCancelled:
      return Outcome::kCancelled;
    case CallResult::kExpired:
      return Outcome::kExpired;
    case CallResult::kWorkerDied:
      keep_evidence(Outcome::kWorkerDied, end.text);
      return Outcome::kWorkerDied;
    case CallResult::kRefused:
      break;
  }
  state_.keep_error(std::make_exception_ptr(
      std::runtime_error(call_.operation.name() + ": no worker can be had: " + end.text)));
  return Outcome::kFailed;
}

}  // namespace streamgate::executor

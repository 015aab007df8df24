// SPDX-License-Identifier: Apache-2.0
//
// One run of a closure that a LearnedClass learns from.
#pragma once

#include <streamgate/executor/classifier.h>
#include <streamgate/executor/internal/op_calls.h>
#include <streamgate/executor/learned_class.h>

namespace streamgate::executor {

/// Listens, from its making to its end, to the operators of this thread. Without libtorch in the
/// build it hears nothing, and so nothing is ever learned. Confined to its thread; nests with
/// others.
class LearningRun final : public OpListener {
 public:
  LearningRun(LearnedClass& learned, const Classifier& classifier) noexcept;
  LearningRun(const LearningRun&) = delete;
  LearningRun& operator=(const LearningRun&) = delete;

  /// `ended_well`: the closure returned. To be called once, at the end.
  void end(bool ended_well) noexcept;

  Takes begins(const OpCall& call) noexcept override;
  void ended(const OpCall&) noexcept override {}

 private:
  LearnedClass& learned_;
  const Classifier& classifier_;
  LearnedClass::Seen seen_;
  bool listens_ = false;
  bool missed_ = false;  ///< An operator, for want of memory.
};

}  // namespace streamgate::executor

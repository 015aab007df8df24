// SPDX-License-Identifier: Apache-2.0
//
// An operator counts where the table knows it, or where it does work of its own; else it is what it
// calls: a composite that no table names needs no more than its members.
#include <streamgate/executor/internal/learning_run.h>

#include <exception>
#include <utility>

namespace streamgate::executor {

LearningRun::LearningRun(LearnedClass& learned, const Classifier& classifier) noexcept
    : learned_(learned), classifier_(classifier) {
#if STREAMGATE_WITH_TORCH
  try {
    start_listening(*this);
    listens_ = true;
  } catch (const std::exception&) {
    // No memory for a callback: this run teaches nothing.
  }
#endif
}

void LearningRun::end(bool ended_well) noexcept {
  if (!listens_) return;
#if STREAMGATE_WITH_TORCH
  stop_listening(*this);
#endif
  try {
    learned_.take(seen_, ended_well && !missed_);
  } catch (const std::exception&) {
    // What was seen is lost, so the run does not count either.
  }
}

OpListener::Takes LearningRun::begins(const OpCall& call) noexcept {
#if STREAMGATE_WITH_TORCH
  try {
    std::string name = call.full_name();
    if (!classifier_.look_up(name) && call.is_made_of_others()) return Takes::kWhatItCalls;
    const auto [entry, is_new] = seen_.try_emplace(std::move(name));
    OperationUse& use = entry->second;
    if (is_new) {
      use.operation = entry->first;
      use.classes = classifier_.find(entry->first);
    }
    ++use.count;
  } catch (const std::exception&) {
    missed_ = true;
  }
#else
  static_cast<void>(call);
#endif
  return Takes::kIt;
}

}  // namespace streamgate::executor

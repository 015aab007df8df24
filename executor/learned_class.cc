// SPDX-License-Identifier: Apache-2.0
//
// What the runs of a closure come to together.
#include <streamgate/executor/learned_class.h>

#include <algorithm>
#include <utility>

namespace streamgate::executor {

using policies::OpClassSet;

LearnedClass::LearnedClass(std::string name, std::size_t runs)
    : name_(std::move(name)),
      runs_(std::max<std::size_t>(1, runs)),
      lane_(static_cast<std::uint8_t>(policies::kUnknownOpClass.lane() | kLearning)) {}

void LearnedClass::take(const Seen& seen, bool whole) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, use] : seen) {
    OperationUse& sum = seen_.try_emplace(name, OperationUse{.operation = name}).first->second;
    sum.count += use.count;
    sum.classes = use.classes;
  }
  if (whole && !seen.empty()) ++taken_;
  if (taken_ < runs_) return;
  // Runs that began before and end now add what they saw, too.
  OpClassSet classes = policies::OpClass::kRaw;
  for (const auto& [name, use] : seen_) {
    classes = classes | use.classes.value_or(policies::kUnknownOpClass);
  }
  lane_.store(static_cast<std::uint8_t>(classes.lane()), std::memory_order_relaxed);
}

std::vector<OperationUse> LearnedClass::operations() const {
  const std::lock_guard lock(mutex_);
  std::vector<OperationUse> operations;
  operations.reserve(seen_.size());
  for (const auto& [name, use] : seen_) operations.push_back(use);
  return operations;
}

std::string LearnedClass::to_string() const {
  std::size_t taken;
  {
    const std::lock_guard lock(mutex_);
    taken = taken_;
  }
  std::string text = name_ + ": " + std::string(policies::to_string(op_class())) +
                     (learned() ? ", learned from " : ", still learning after ") +
                     std::to_string(taken) + (taken == 1 ? " run\n" : " runs\n");
  for (const OperationUse& use : operations()) {
    text += "  " + use.operation + " x " + std::to_string(use.count) + ": " +
            (use.classes ? std::string(policies::to_string(*use.classes)) : "unknown") + "\n";
  }
  return text;
}

}  // namespace streamgate::executor

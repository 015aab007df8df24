// SPDX-License-Identifier: Apache-2.0
//
// The op class of a closure, learned from its first runs. For work whose operations neither its
// author nor a TorchScript file names; where they are known, TaskOptions::op_class says it at once.
#pragma once

#include <streamgate/executor/classifier.h>
#include <streamgate/policies/op_class.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// Learns the class of one kind of closure. Its first runs are of class kernel and graph, the most
/// restrictive, while libtorch names the operators that they call; once enough runs have ended
/// well, all later ones are of the union of those operators' classes.
///
/// It is an object that the caller keeps, and not a name that the executor would look up: so a task
/// that learns nothing pays one comparison with null, and one whose class has been learned one
/// load.
///
/// What cannot be learned: an operator that only some inputs lead to, and that no run met; what a
/// closure does on threads of its own. A run in which no operator was seen teaches nothing. Use
/// TaskOptions::op_class for such closures.
///
/// Thread-safety: thread-safe. Ownership: the caller's; it must outlive every task that names it,
/// and serve tasks of one executor only. Blocking: nothing waits; a run that is learned from takes
/// a lock for an instant at its end. Failure: none; what cannot be learned stays restrictive.
///
///     static executor::LearnedClass encoder("encoder");
///     executor.submit({.learn = &encoder}, [&] { return encode(inputs); });
///     ...
///     std::cout << encoder.to_string();
class LearnedClass {
 public:
  /// How many runs have to end well before their word is taken.
  static constexpr std::size_t kRuns = 3;

  /// `name` is for people.
  explicit LearnedClass(std::string name, std::size_t runs = kRuns);
  LearnedClass(const LearnedClass&) = delete;
  LearnedClass& operator=(const LearnedClass&) = delete;

  /// What a task submitted now runs as.
  [[nodiscard]] policies::OpClassSet op_class() const noexcept {
    // Relaxed: the class is all there is to it; nothing is read on its word.
    return policies::OpClassSet::from_lane(lane_.load(std::memory_order_relaxed) & kLaneBits);
  }
  [[nodiscard]] bool learned() const noexcept {
    return (lane_.load(std::memory_order_relaxed) & kLearning) == 0;
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// The operators that were seen so far, by name, with their calls over all learning runs.
  [[nodiscard]] std::vector<OperationUse> operations() const;
  /// A line that says class and runs, and one for each operator.
  [[nodiscard]] std::string to_string() const;

 private:
  friend class LearningRun;
  using Seen = std::map<std::string, OperationUse, std::less<>>;

  static constexpr std::uint8_t kLaneBits = 7;
  static constexpr std::uint8_t kLearning = 8;

  /// A run has ended. `whole`: it did all that it does, and every operator of it is there.
  void take(const Seen& seen, bool whole);

  const std::string name_;
  const std::size_t runs_;
  std::atomic<std::uint8_t> lane_;  ///< With kLearning while it is.

  mutable std::mutex mutex_;
  Seen seen_;
  std::size_t taken_ = 0;  ///< Runs that ended well.
};

}  // namespace streamgate::executor

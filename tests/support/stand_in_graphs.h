// SPDX-License-Identifier: Apache-2.0
//
// A device with graphs on the CPU: a graph is a stand-in that runs the call again, and account is
// kept of who captures, replays and gives up when.
#pragma once

#include <streamgate/executor/backends/graph_cache.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

namespace streamgate::testing {

using executor::CapturedGraph;
using executor::GraphDevice;
using executor::GraphFunction;
using executor::GraphResults;
using executor::NotCapturable;
using executor::Tensors;

/// Shared by a test and its device.
struct GraphAccount {
  std::size_t bytes_each = 100;
  std::atomic<bool> capturing{false};
  std::atomic<int> captures_that_met{0};
  std::atomic<int> replays_that_met{0};
  std::atomic<int> given_up_without_permit{0};
  std::atomic<int> alive{0};
  const executor::Executor* executor = nullptr;  ///< Whose permits are looked at; may be null.
  bool pays = true;
  bool no_memory = false;  ///< The next capture finds none.
  std::atomic<int> memory_given_back{0};
};

class StandInGraph final : public CapturedGraph {
 public:
  StandInGraph(GraphAccount& account, const GraphFunction& function)
      : account_(account), function_(function) {
    ++account_.alive;
  }
  ~StandInGraph() override {
    --account_.alive;
    if (account_.executor == nullptr) return;
    const executor::Snapshot now = account_.executor->snapshot();
    const auto& gate = now.gates[policies::index_of(policies::OpClass::kGraph)];
    if (gate.in_use == 0) ++account_.given_up_without_permit;
  }
  Tensors replay(const Tensors& inputs) override {
    if (replaying_.exchange(true)) ++account_.replays_that_met;
    Tensors outputs = function_(inputs);
    replaying_ = false;
    return outputs;
  }
  std::size_t bytes() const noexcept override { return account_.bytes_each; }
  bool pays() const noexcept override { return account_.pays; }

 private:
  GraphAccount& account_;
  GraphFunction function_;
  std::atomic<bool> replaying_{false};
};

class StandInGraphs final : public GraphDevice {
 public:
  explicit StandInGraphs(GraphAccount& account) : account_(account) {}
  at::Device device() const noexcept override { return at::kCPU; }
  Tensors on_device(const Tensors& inputs) const override { return inputs; }
  Tensors on_host(const Tensors& outputs) const override { return outputs; }
  std::unique_ptr<CapturedGraph> capture(const GraphFunction& function, const Tensors& inputs,
                                         const Tensors&, GraphResults) override {
    if (account_.capturing.exchange(true)) ++account_.captures_that_met;
    std::this_thread::yield();
    account_.capturing = false;
    // As a device would notice.
    if (inputs.front().numel() == 13) throw NotCapturable("thirteen");
    if (std::exchange(account_.no_memory, false)) {
      // As TorchScript's interpreter passes it on.
      throw std::runtime_error("RuntimeError: CUDA out of memory. Tried to ...");
    }
    return std::make_unique<StandInGraph>(account_, function);
  }
  void give_back_memory() noexcept override { ++account_.memory_given_back; }

 private:
  GraphAccount& account_;
};

}  // namespace streamgate::testing

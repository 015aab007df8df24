// SPDX-License-Identifier: Apache-2.0
//
// Calls that are captured once and replayed afterwards: which are worth it, which cannot be, whose
// buffers are free, and what must go when there are too many. What a captured call is, the device
// knows (cuda_graph.h); here is only the bookkeeping, so that it is tested without one.
#pragma once

#include <streamgate/executor/call.h>
#include <streamgate/executor/executor.h>
#include <streamgate/executor/snapshot.h>

#include <ATen/core/Tensor.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace streamgate::executor {

using Tensors = std::vector<at::Tensor>;

/// Where a call's results are wanted. On the host they are complete when the call returns.
enum class GraphResults : std::uint8_t { kDevice, kHost };

/// Why a call cannot be captured. Thrown by GraphDevice::capture, and to who insists (kAlways).
class NotCapturable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Whether it says that the device has no memory left: c10::OutOfMemoryError, or what TorchScript's
/// interpreter makes of it, which is a std::runtime_error with its words.
[[nodiscard]] bool is_out_of_memory(const std::exception& error) noexcept;

/// A computation that may be captured: always the same kernels for inputs of the same shapes, and
/// everything that it uses but its inputs stays where it is. It is given tensors of the device.
/// Copies are the same function.
class GraphFunction {
 public:
  using Callable = std::function<Tensors(const Tensors&)>;

  /// Which function it is, for one that is made anew for each call.
  struct Identity {
    std::uint64_t id = 0;                   ///< Of new_id.
    std::vector<std::int64_t> constants{};  ///< All that it depends on beside its inputs.
    std::shared_ptr<const void> uses{};     ///< Kept for as long as there is a graph of it.
    std::size_t first_runs =
        0;  ///< That it needs before it is what it will be, as it compiles itself.
  };

  explicit GraphFunction(Callable callable);
  GraphFunction(Identity identity, Callable callable)
      : callable_(std::move(callable)), identity_(std::move(identity)) {}

  /// Never given to another in this process.
  [[nodiscard]] static std::uint64_t new_id() noexcept;

  [[nodiscard]] Tensors operator()(const Tensors& inputs) const { return callable_(inputs); }
  [[nodiscard]] const Identity& identity() const noexcept { return identity_; }

 private:
  Callable callable_;
  Identity identity_;
};

/// One captured call with buffers of its own. Used by one thread at a time. Destroyed under a
/// permit of class graph; waits for the device to be done with it.
class CapturedGraph {
 public:
  virtual ~CapturedGraph() = default;
  /// On the current stream. The inputs are like those it was captured with; what it returns is the
  /// caller's, whatever is replayed next.
  [[nodiscard]] virtual Tensors replay(const Tensors& inputs) = 0;
  /// Of the device.
  [[nodiscard]] virtual std::size_t bytes() const noexcept = 0;
  /// Whether a replay, with the copies that it needs, is less work to start than the call itself.
  [[nodiscard]] virtual bool pays() const noexcept { return true; }
};

/// What the cache needs of a device. Thread-safe but for capture, of which there is one at a time.
class GraphDevice {
 public:
  virtual ~GraphDevice() = default;
  [[nodiscard]] virtual at::Device device() const noexcept = 0;
  /// The inputs as the function is given them: those elsewhere are copied to the device.
  [[nodiscard]] virtual Tensors on_device(const Tensors& inputs) const = 0;
  [[nodiscard]] virtual Tensors on_host(const Tensors& outputs) const = 0;
  /// Captures one call, which is not executed thereby, on the current stream and under a permit of
  /// class graph. `outputs` are what the call has just returned. Throws NotCapturable.
  [[nodiscard]] virtual std::unique_ptr<CapturedGraph> capture(const GraphFunction& function,
                                                               const Tensors& inputs,
                                                               const Tensors& outputs,
                                                               GraphResults results) = 0;
  /// Memory that is kept for the next graphs goes back to the device. Under a permit of class
  /// graph.
  virtual void give_back_memory() noexcept {}
};

struct GraphCacheOptions {
  std::size_t max_bytes = std::size_t{4} << 30;  ///< Of all captured calls together.
  std::size_t max_graphs = 1024;
  /// Uses of a call with the same shapes before it is captured.
  std::size_t eager_uses = 2;
};

struct GraphCall {
  GraphUse use = GraphUse::kAuto;
  GraphResults results = GraphResults::kDevice;
};

using GraphCacheSnapshot = GraphsSnapshot;

/// Runs calls from tasks, by replay where it can.
///
/// A captured call belongs to one stream slot, whose lease gives its task the buffers alone:
/// replays of one call run side by side on as many slots as tasks need, and none waits for another.
/// The results are copies, so the next replay may come at once.
///
/// Thread-safety: run may be called from any number of tasks of the executor. Ownership: borrows
/// the executor and owns the graphs; the functions may end before it. Blocking: run waits for the
/// device where results are wanted on the host, else not. The destructor runs a task. Failure: what
/// the function throws; NotCapturable to who insists. A call that changes its inputs, draws random
/// numbers, reads from the device or needs gradients is not captured but run, every time; so is one
/// whose replay would not pay, unless somebody insists. When the device is out of memory the task
/// fails, and graphs that nobody uses are given up, with their memory.
///
///     GraphCache cache(executor, make_cuda_graphs(executor.config()));
///     const GraphFunction forward([&](const Tensors& x) { return Tensors{model.forward(x[0])}; });
///     auto y = executor.run([&](TaskContext& context) {
///       return cache.run(context, forward, {x}, {.results = GraphResults::kHost}).front();
///     });
class GraphCache {
 public:
  GraphCache(Executor& executor, std::unique_ptr<GraphDevice> device,
             GraphCacheOptions options = {});
  /// REQUIRES: no run is underway.
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  /// Inside a task, on the stream of its lease. All but the tensors must be the same for every call
  /// of one function; what libtorch keeps for each thread (gradients, inference, autocast) counts.
  [[nodiscard]] Tensors run(TaskContext& context, const GraphFunction& function,
                            const Tensors& inputs, GraphCall call = {});

  /// Gives up the graphs that were used least recently until at most so many bytes are left, except
  /// those in use. Outside of tasks.
  void trim(std::size_t bytes);

  /// In a task that found no memory on the device (is_out_of_memory): all graphs that nobody uses
  /// are given up, now or, where somebody captures, before the next capture.
  void ran_out_of_memory();

  /// Counts a call that ran beside the cache, as it can have no graph.
  void count_eager() noexcept { eager_.fetch_add(1, std::memory_order_relaxed); }
  /// Tells the snapshot's readers of a kind of call that is not captured.
  void remember(const std::string& why);

  [[nodiscard]] at::Device device() const noexcept { return device_->device(); }

  [[nodiscard]] GraphCacheSnapshot snapshot() const;

 private:
  /// Function, results, thread's settings, and of each input device, type, sizes and strides.
  struct Key {
    std::vector<std::int64_t> words;
    std::size_t hash = 0;
    bool operator==(const Key& other) const noexcept { return words == other.words; }
  };
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept { return key.hash; }
  };
  /// What is known of a call, whatever slot it is on.
  struct Known {
    std::atomic<std::size_t> uses{0};
    std::atomic<bool> refused{false};
    std::atomic<bool> saves_nothing{false};  ///< Refused to all but those who insist.
    std::string why{};                       ///< Written once, before refused; under mutex_.
  };
  struct Entry {
    std::shared_ptr<Known> known{};      ///< Shared with the table, so that it remembers this call.
    std::shared_ptr<const void> uses{};  ///< The function's, which owns it too while it is there.
    std::unique_ptr<CapturedGraph> graph{};
    bool in_use = false;
    std::uint64_t last_use = 0;
  };
  /// The captured calls of one stream slot. The mutex is between the task on the slot and somebody
  /// who gives graphs up; it is never held while one is replayed.
  struct Slot {
    std::mutex mutex;
    std::unordered_map<Key, Entry, Hash> entries;
  };
  class Use;

  [[nodiscard]] static bool make_key(const GraphFunction& function, const Tensors& inputs,
                                     GraphResults results, Key& key);
  /// Shared by the table and those who use it, as the table may forget.
  [[nodiscard]] std::shared_ptr<Known> known_of(const Key& key);
  [[nodiscard]] Tensors run_eagerly(const GraphFunction& function, const Tensors& inputs,
                                    GraphResults results, const std::shared_ptr<Known>& known,
                                    Slot& slot, const Key& key, GraphUse use);
  [[nodiscard]] std::optional<Tensors> replay(Slot& slot, const Key& key, const Tensors& inputs);
  void try_capture(const GraphFunction& function, const Tensors& inputs, const Tensors& outputs,
                   GraphResults results, const std::shared_ptr<Known>& known, Slot& slot,
                   const Key& key, GraphUse use);
  void capture(const GraphFunction& function, const Tensors& inputs, const Tensors& outputs,
               GraphResults results, const std::shared_ptr<Known>& known, Slot& slot,
               const Key& key, GraphUse use);
  void refuse(Known& known, const std::string& why);
  /// Whether one more may be captured without giving up one that is in use as often.
  [[nodiscard]] bool has_room() noexcept;
  /// REQUIRES: a permit of class graph.
  void give_up(std::size_t bytes, std::size_t graphs);
  void give_up_all() noexcept;

  Executor& executor_;
  const std::unique_ptr<GraphDevice> device_;
  const GraphCacheOptions options_;
  std::array<Slot, 64> slots_;  ///< By TaskContext::stream().

  mutable std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Known>, Hash> known_;
  std::vector<std::string> refusals_;

  std::atomic<std::uint64_t> clock_{0};
  std::atomic<bool> out_of_memory_{false};  ///< Somebody was; graphs are to go.
  std::atomic<std::uint64_t> replays_{0};
  std::atomic<std::uint64_t> eager_{0};
  std::atomic<std::uint64_t> captures_{0};
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<std::uint64_t> deferred_{0};
  std::atomic<std::uint64_t> evicted_{0};
  std::atomic<std::size_t> graphs_{0};
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace streamgate::executor

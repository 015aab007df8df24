// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/torch_runner.h>

#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/workers/arena_allocator.h>
#include <streamgate/executor/workers/call_request.h>
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/protocol.h>
#if STREAMGATE_WITH_CUDA
#include <streamgate/executor/internal/cuda_device.h>
#endif

#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace streamgate::executor {
namespace {

/// For the channel that callbacks of libtorch, which take nothing of ours with them, count on.
Channel* progress_of = nullptr;

std::unique_ptr<at::ObserverContext> count_progress(const at::RecordFunction&) {
  if (progress_of != nullptr) progress_of->count_progress();
  return nullptr;
}

class TorchRunner final : public CallRunner {
 public:
  std::string identity() override { return loaded_torch_identity(); }

  void prepare(std::string_view configuration, std::size_t intra_op_threads) override {
    at::set_num_threads(static_cast<int>(intra_op_threads));
    at::set_num_interop_threads(1);
    at::addGlobalCallback(
        at::RecordFunctionCallback(&count_progress).scopes({at::RecordScope::FUNCTION}));
    requests_.prepare(configuration);
    if (requests_.device().is_cuda()) use_cuda();
  }

  BlockReference run(RunningCall& call) override {
    if (progress_of == nullptr && requests_.device().is_cuda()) pin_memory_of(call.channel);
    progress_of = &call.channel;
    std::vector<c10::IValue> request = decode(std::move(call.request), call.channel);
    // Loads what it needs; modules stay, so not into the arena.
    call.first_runs = requests_.resolve(request);
    std::vector<c10::IValue> result(1);
    {
      const ArenaAllocation in_arena(call.channel);
      result[0] = run_request(std::move(request));
    }
    call.throw_if_cancelled();
    // Waits for room: the host gives results back as their owners let go. It has deadlines.
    std::optional<EncodedValues> encoded =
        encode(result, call.channel, std::chrono::steady_clock::time_point::max());
    if (!encoded) throw std::runtime_error("the result is larger than the worker's arena");
    encoded->sent();
    return encoded->frame();
  }

 private:
  c10::IValue run_request(std::vector<c10::IValue> request) {
    try {
      return requests_.run(std::move(request));
    } catch (const c10::Error& error) {
      end_if_device_is_lost();
      // What libtorch says without where in libtorch it was said, as it is rethrown at the host.
      throw std::runtime_error(error.what_without_backtrace());
    } catch (const std::exception&) {
      // TorchScript's interpreter passes on what an operator throws as something of its own.
      end_if_device_is_lost();
      throw;
    }
  }

  void use_cuda() {
#if STREAMGATE_WITH_CUDA
    cuda::Process::instance().initialise(requests_.device().index());
#else
    throw std::runtime_error(
        "the host's calls are on CUDA, and this program was built without; let "
        "overflow.worker_command name one of the same build");
#endif
  }

  /// What comes with a call and what goes back lie in the channel's memory.
  static void pin_memory_of(Channel& channel) {
#if STREAMGATE_WITH_CUDA
    cuda::pin(channel.memory());
#else
    static_cast<void>(channel);
#endif
  }

  /// A context that an error has destroyed serves no further call: another process has another one.
  /// To its host this is a death like any other.
  void end_if_device_is_lost() {
#if STREAMGATE_WITH_CUDA
    if (!requests_.device().is_cuda() || cuda::Process::instance().lives()) return;
    std::_Exit(kWorkerLostDevice);
#endif
  }

  RequestRunner requests_;
};

}  // namespace

std::unique_ptr<CallRunner> make_torch_runner() { return std::make_unique<TorchRunner>(); }

}  // namespace streamgate::executor

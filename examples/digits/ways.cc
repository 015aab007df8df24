// SPDX-License-Identifier: Apache-2.0
//
// The ways run in one process, turn by turn, and must not disturb each other. Three things of
// libtorch on the CPU outlive a way if nobody takes care:
//
// 1. The number of intra-op threads. at::set_num_threads sets it for the calling thread (OpenMP's
//    variable), and also what threads take on that use libtorch for the first time later (a global
//    variable of libtorch's, ParallelOpenMP.cpp, 1.13 to 2.6). The executor sets it on the threads
//    that run its tasks, so after its turn a new plain thread might start with the executor's share
//    and not with libtorch's default. Hence each client thread, of whatever way, sets the default
//    first, as it was read before the executor had run anything; that is what a fresh thread of a
//    fresh process has. What Streamgate does about it is then its own doing.
// 2. OpenMP's pools: one for each thread that has run a parallel region, ended with that thread. So
//    each turn has new client threads, and the caller waits for the old ones' pools to end.
// 3. TorchScript's executor profiles the first runs of a model and then recompiles it: so the model
//    is warmed up once, before the first turn.
#include "ways.h"

#include "digit_tensors.h"

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <algorithm>
#include <mutex>

namespace digits {
namespace {

std::vector<std::int64_t> to_vector(const at::Tensor& answers) {
  const at::Tensor contiguous = answers.contiguous();
  const auto* first = contiguous.data_ptr<std::int64_t>();
  return {first, first + contiguous.numel()};
}

std::function<void()> set_intra_op_threads(std::size_t threads) {
  return [threads] { at::set_num_threads(static_cast<int>(threads)); };
}

}  // namespace

struct ModelServer::State {
  torch::jit::Module model;
  at::Tensor images;
  streamgate::Executor& executor;
  std::size_t default_intra_op_threads;
  std::mutex mutex;

  /// The work of one request: the same code in all ways.
  void classify(std::size_t first, std::span<std::int64_t> answers) {
    // Thread-local, so it belongs inside the work, wherever that runs.
    const c10::InferenceMode inference_mode;
    const at::Tensor batch = images.narrow(0, static_cast<std::int64_t>(first),
                                           static_cast<std::int64_t>(answers.size()));
    const at::Tensor scores = model.forward({batch}).toTensor();
    std::ranges::copy(to_vector(scores.argmax(1)), answers.begin());
  }
};

ModelServer::ModelServer(const std::filesystem::path& model_file, const Dataset& test,
                         streamgate::Executor& executor)
    : state_(new State{.model = torch::jit::load(model_file.string()),
                       .images = images_of(test),
                       .executor = executor,
                       .default_intra_op_threads = static_cast<std::size_t>(at::get_num_threads()),
                       .mutex = {}}) {
  for (int i = 0; i < 3; ++i) (void)answers();
}

ModelServer::~ModelServer() = default;

Way ModelServer::plain_threads(std::size_t intra_op_threads) const {
  return {.name = "plain threads",
          .prepare_thread = set_intra_op_threads(intra_op_threads),
          .answer = [state = state_.get()](std::size_t first, std::span<std::int64_t> answers) {
            state->classify(first, answers);
          }};
}

Way ModelServer::global_mutex(std::size_t intra_op_threads) const {
  return {.name = "one global mutex",
          .prepare_thread = set_intra_op_threads(intra_op_threads),
          .answer = [state = state_.get()](std::size_t first, std::span<std::int64_t> answers) {
            const std::lock_guard lock(state->mutex);
            state->classify(first, answers);
          }};
}

Way ModelServer::streamgate_run() const {
  return {.name = "Streamgate",
          .prepare_thread = set_intra_op_threads(default_intra_op_threads()),
          .answer = [state = state_.get()](std::size_t first, std::span<std::int64_t> answers) {
            // value() throws for an outcome that is not ok. None is to be expected here: there is
            // no deadline, and eight clients do not fill the queue.
            (void)state->executor.run([&] { state->classify(first, answers); }).value();
          }};
}

Way ModelServer::streamgate_submit() const {
  return {.name = "Streamgate by submit",
          .prepare_thread = set_intra_op_threads(default_intra_op_threads()),
          .answer = [state = state_.get()](std::size_t first, std::span<std::int64_t> answers) {
            (void)state->executor.submit([&] { state->classify(first, answers); }).get().value();
          }};
}

std::vector<std::int64_t> ModelServer::answers() const {
  std::vector<std::int64_t> answers(static_cast<std::size_t>(state_->images.size(0)));
  state_->classify(0, answers);
  return answers;
}

std::size_t ModelServer::default_intra_op_threads() const noexcept {
  return state_->default_intra_op_threads;
}

}  // namespace digits

// SPDX-License-Identifier: Apache-2.0
//
// The code of the docs, to the letter, in functions that give it what it takes for granted:
// compiled so that it stays right. blocks_test.cc checks that every block is here.
#include <streamgate/executor.h>
#include <streamgate/spdlog.h>

#include <torch/torch.h>

#include <spdlog/spdlog.h>
#include <tbb/concurrent_queue.h>

#include <optional>
#include <string>
#include <vector>

// Laid out as the docs have it.
// clang-format off
namespace {

[[maybe_unused]] void overflow_md(streamgate::Executor& executor, torch::Tensor input,
                                  torch::Tensor weight, torch::Tensor bias, torch::Tensor batch) {
  const streamgate::Operation linear = executor.operation("aten::linear");   // once
  auto future = executor.call(linear, {input, weight, bias});                // a Future<c10::IValue>
  auto now = executor.run(linear, {input, weight, bias});                    // on this thread

  executor.register_module("encoder", "/models/encoder.pt");                 // loaded once, for evaluation
  auto encoded = executor.call(executor.operation("encoder.forward"), {batch});
}

[[maybe_unused]] void memory_md(streamgate::Executor& executor, torch::jit::Module& model,
                                const std::vector<torch::jit::IValue>& large, torch::Tensor input) {
  const auto encode = [](const torch::Tensor& given) { return given.exp(); };
  const streamgate::Operation operation = executor.operation("aten::exp");

  executor.submit({.memory_bytes = 512 << 20}, [&] { return model.forward(large); });

  static streamgate::LearnedMemory encoder;
  executor.submit({.cost_bytes = input.nbytes(), .learn_memory = &encoder}, [&] { return encode(input); });

  executor.call(operation, {input}, {.memory_bytes = 512 << 20});   // or memory.learn_calls = true
}

[[maybe_unused]] std::optional<int> workers_md(int argc, char** argv) {
  if (const auto code = streamgate::serve_as_worker(argc, argv)) return *code;
  return std::nullopt;
}

class Spans final : public streamgate::TaskObserver {
 public:
  void on_task_end(const streamgate::TaskRecord& task) noexcept override {
    // On the thread that ended it, with no lock held: hand over, and return.
    if (task.trace->sampled()) ended_.push(task);
  }
  tbb::concurrent_queue<streamgate::TaskRecord> ended_;
};

[[maybe_unused]] void tracing_md(const streamgate::Config& config, const std::string& traceparent) {
  const auto work = [] { return 1; };
  Spans spans;  // Before the executor, as it must outlive it.
  streamgate::Executor executor({.config = config, .observer = &spans});
  const auto trace = streamgate::TraceContext::parse(traceparent);  // Nothing if it is not valid.
  auto future = executor.submit({.name = "infer", .trace = trace}, work);
}

[[maybe_unused]] void tracing_md_logs() {
  streamgate::set_log_sink(streamgate::to_spdlog(spdlog::default_logger()));
  streamgate::set_log_level(streamgate::LogLevel::kWarning);
}

}  // namespace

// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/reproducer.h>

#include <streamgate/executor/probe/workloads/libtorch.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <utility>

namespace streamgate::executor::probe {
namespace {

/// The program for the emulator; @WORDS@ are replaced. It does what the trial did, with nothing
/// around it: threads on streams of their own, released together, each of which encodes, waits and
/// compares.
// (Not named cpp: clang-format would lay that out anew, @WORDS@ and all.)
constexpr std::string_view kEmulatorProgram = R"program(// @WHAT@
// Compile: @COMPILE@
// Run:     @RUN@
#include <streamgate/executor/backends/emulator/metal.h>

#include <array>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <thread>
#include <vector>

using namespace streamgate;
using policies::OpClass;

constexpr const char* kModel = R"toml(
@MODEL@)toml";
constexpr std::array kThreads = {@THREADS@};  // The op class of each thread.
constexpr int kRounds = 20000;

int main() {
  executor::metal::Device device(policies::parse_fault_model(kModel, "the model"));
  device.initialise();
  std::barrier together(kThreads.size());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < kThreads.size(); ++i) {
    threads.emplace_back([&, i] {
      executor::metal::Stream& stream = device.stream(i);
      for (int round = 0; round < kRounds; ++round) {
        together.arrive_and_wait();
        std::array<float, 64> output{};
        stream.run_sync([&] {
          stream.encoder().encode({.classes = kThreads[i],
                                   .label = "@OPERATION@",
                                   .kernel = [&] { output.fill(2.0F); },
                                   .output = std::as_writable_bytes(std::span(output))});
        });
        static_cast<void>(stream.synchronize(executor::metal::Clock::time_point::max()));
        for (const float value : output) {
          if (value == 2.0F) continue;
          std::printf("thread %zu, round %d: a wrong result\n", i + 1, round + 1);
          std::fflush(stdout);
          std::_Exit(1);
        }
      }
    });
  }
  threads.clear();
  std::puts("nothing failed this time");
}
)program";

#if STREAMGATE_WITH_TORCH
/// The same of libtorch alone. Streams are those that libtorch gives to threads by itself.
constexpr std::string_view kTorchProgram = R"program(// @WHAT@
// Compile: @COMPILE@
// Run:     @RUN@
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

using Operation = at::Tensor (*)(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias);

@OPERATIONS@
constexpr std::array<Operation, @COUNT@> kThreads = {@THREADS@};  // What each thread runs.
constexpr int kRounds = 20000;

int main() {
  at::set_num_threads(1);
  const at::TensorOptions device = at::TensorOptions().device(@DEVICE_TYPE@);
  const at::Tensor x = at::randn({32, 256}).to(device);
  const at::Tensor weight = at::randn({256, 256}).to(device);
  const at::Tensor bias = at::randn({256}).to(device);
  std::vector<at::Tensor> expected;  // Computed by one thread.
  for (const Operation operation : kThreads) expected.push_back(operation(x, weight, bias).cpu());
  std::barrier together(kThreads.size());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < kThreads.size(); ++i) {
    threads.emplace_back([&, i] {
      at::set_num_threads(1);
      for (int round = 0; round < kRounds; ++round) {
        together.arrive_and_wait();
        const at::Tensor output = kThreads[i](x, weight, bias).cpu();
        if (at::allclose(output, expected[i], 1e-4, 1e-4)) continue;
        std::printf("thread %zu, round %d: a wrong result\n", i + 1, round + 1);
        std::fflush(stdout);
        std::_Exit(1);
      }
    });
  }
  threads.clear();
  std::puts("nothing failed this time");
}
)program";

/// TORCH is a folder with include/ and lib/, as pip's torch and libtorch's archives have them.
constexpr std::string_view kCompileTorch =
    "c++ -std=c++20 reproducer.cc -o reproducer -I$TORCH/include -L$TORCH/lib "
    "-Wl,-rpath,$TORCH/lib -ltorch -ltorch_cpu -lc10 -pthread";
#endif

constexpr std::string_view kInstructions = R"md(# @WHAT@

    @COMPILE@
    @RUN@

Expected: "nothing failed this time", exit code 0. Seen: @NAME@@CODE@.

| | |
|---|---|
| threads | @PARTIES@ |
| operation | `@OPERATION@` |
| thread, iteration | @THREAD@, @ITERATION@ |
| backend | @BACKEND@ |
| device | @DEVICE@ |
| libtorch | @LIBTORCH@ |
| driver | @DRIVER@ |
| system | @SYSTEM@ |

The last lines on standard error:

```
@TEXT@
```
)md";

constexpr std::string_view kCompile =
    "g++ -std=c++20 reproducer.cc -o reproducer $(pkg-config --cflags --libs streamgate)";
constexpr std::string_view kRun = "timeout 60 ./reproducer; echo $?";

using Words = std::vector<std::pair<std::string_view, std::string>>;

std::string filled_in(std::string_view form, const Words& words) {
  std::string text(form);
  for (const auto& [word, value] : words) {
    for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at)) {
      text.replace(at, word.size(), value);
      at += value.size();
    }
  }
  return text;
}

std::string_view enumerator(policies::OpClass op_class) {
  static constexpr std::string_view kNames[] = {"kRaw", "kKernel", "kGraph", "kExclusive"};
  return kNames[policies::index_of(op_class)];
}

/// What each thread runs, after the prefix.
std::string threads(const Failure& failure, std::string_view prefix) {
  std::string list;
  for (const Party& party : failure.parties) {
    for (std::size_t i = 0; i < party.width; ++i) {
      list += (list.empty() ? "" : ", ") + std::string(prefix) +
              std::string(enumerator(party.op_class));
    }
  }
  return list;
}

/// What a shell says of it.
std::string exit_code(const std::string& name) {
  if (name == "hang") return ", exit code 124 of timeout";
  if (name == "corrupt") return ", exit code 1";
  if (name == "SIGSEGV") return ", exit code 139";
  if (name == "SIGABRT") return ", exit code 134";
  return "";
}

std::string or_unknown(const std::string& text) { return text.empty() ? "unknown" : text; }

/// Said of every failure, whatever the program.
Words common_words(const Failure& failure, const policies::Provenance& provenance) {
  return {{"@OPERATION@", failure.operation},
          {"@NAME@", failure.name},
          {"@CODE@", exit_code(failure.name)},
          {"@PARTIES@", to_string(failure.parties)},
          {"@THREAD@", failure.thread == 0 ? "unknown" : std::to_string(failure.thread)},
          {"@ITERATION@", std::to_string(failure.iteration)},
          {"@BACKEND@", provenance.backend},
          {"@DEVICE@", or_unknown(provenance.device)},
          {"@LIBTORCH@", or_unknown(provenance.libtorch)},
          {"@DRIVER@", or_unknown(provenance.driver)},
          {"@SYSTEM@", or_unknown(provenance.os)},
          {"@TEXT@", failure.text}};
}

Reproducer written(std::string_view program, Words words, const Words& of_failure) {
  words.insert(words.end(), of_failure.begin(), of_failure.end());
  return {filled_in(program, words), filled_in(kInstructions, words)};
}

std::string what(const Failure& failure, std::string_view on) {
  return failure.name + " with threads " + to_string(failure.parties) + " of " + std::string(on);
}

Reproducer emulated(const WorkloadOptions& workload, const Failure& failure, const Words& common) {
  const policies::FaultModel model = workload.fault_model.empty()
                                         ? policies::FaultModel{}
                                         : policies::find_fault_model(workload.fault_model);
  return written(kEmulatorProgram,
                 {{"@WHAT@", what(failure, "the emulated Metal")},
                  {"@COMPILE@", std::string(kCompile)},
                  {"@RUN@", std::string(kRun)},
                  {"@MODEL@", print_fault_model(model)},
                  {"@THREADS@", threads(failure, "OpClass::")}},
                 common);
}

#if STREAMGATE_WITH_TORCH
Reproducer of_libtorch(std::string_view backend, const Failure& failure, const Words& common) {
  std::string operations;
  std::size_t count = 0;
  for (const Party& party : failure.parties) {
    operations += "constexpr Operation " + std::string(enumerator(party.op_class)) +
                  " = [](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) "
                  "-> at::Tensor {\n  (void)weight, (void)bias;\n  return " +
                  std::string(torch_expression(backend, party.op_class)) + ";\n};\n";
    count += party.width;
  }
  return written(kTorchProgram,
                 {{"@WHAT@", what(failure, "libtorch on " + std::string(backend))},
                  {"@COMPILE@", std::string(kCompileTorch)},
                  {"@RUN@", std::string(kRun)},
                  {"@OPERATIONS@", operations},
                  {"@COUNT@", std::to_string(count)},
                  {"@THREADS@", threads(failure, "")},
                  {"@DEVICE_TYPE@", backend == "mps" ? "at::kMPS" : "at::kCPU"}},
                 common);
}
#endif

}  // namespace

std::optional<Reproducer> reproducer_of(const WorkloadOptions& workload, const Failure& failure,
                                        const policies::Provenance& provenance) {
  const Words common = common_words(failure, provenance);
  if (workload.backend == "emulator") return emulated(workload, failure, common);
#if STREAMGATE_WITH_TORCH
  if (workload.backend == "cpu" || workload.backend == "mps") {
    return of_libtorch(workload.backend, failure, common);
  }
#endif
  return std::nullopt;
}

}  // namespace streamgate::executor::probe

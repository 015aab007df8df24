// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/reproducer.h>

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
  static constexpr std::string_view kNames[] = {"OpClass::kRaw", "OpClass::kKernel",
                                                "OpClass::kGraph", "OpClass::kExclusive"};
  return kNames[policies::index_of(op_class)];
}

std::string threads(const Failure& failure) {
  std::string list;
  for (const Party& party : failure.parties) {
    for (std::size_t i = 0; i < party.width; ++i) {
      list += (list.empty() ? "" : ", ") + std::string(enumerator(party.op_class));
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

}  // namespace

std::optional<Reproducer> reproducer_of(const WorkloadOptions& workload, const Failure& failure,
                                        const policies::Provenance& provenance) {
  if (workload.backend != "emulator") return std::nullopt;
  const policies::FaultModel model = workload.fault_model.empty()
                                         ? policies::FaultModel{}
                                         : policies::find_fault_model(workload.fault_model);
  const std::string parties = to_string(failure.parties);
  const Words words = {
      {"@WHAT@", failure.name + " with threads " + parties + " of the emulated Metal"},
      {"@COMPILE@", std::string(kCompile)},
      {"@RUN@", std::string(kRun)},
      {"@MODEL@", print_fault_model(model)},
      {"@THREADS@", threads(failure)},
      {"@OPERATION@", failure.operation},
      {"@NAME@", failure.name},
      {"@CODE@", exit_code(failure.name)},
      {"@PARTIES@", parties},
      {"@THREAD@", failure.thread == 0 ? "unknown" : std::to_string(failure.thread)},
      {"@ITERATION@", std::to_string(failure.iteration)},
      {"@BACKEND@", provenance.backend},
      {"@DEVICE@", or_unknown(provenance.device)},
      {"@LIBTORCH@", or_unknown(provenance.libtorch)},
      {"@DRIVER@", or_unknown(provenance.driver)},
      {"@SYSTEM@", or_unknown(provenance.os)},
      {"@TEXT@", failure.text}};
  return Reproducer{filled_in(kEmulatorProgram, words), filled_in(kInstructions, words)};
}

}  // namespace streamgate::executor::probe

// SPDX-License-Identifier: Apache-2.0
//
// Runs a small model from several threads and writes what happened as a trace for Perfetto
// (https://ui.perfetto.dev, "Open trace file") or chrome://tracing: trace OUT.json [TASKS].
#include "chrome_trace.h"

#include <streamgate/executor.h>

#include <torch/torch.h>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kClients = 4;

int run(const std::string& file, std::size_t tasks) {
  trace_example::TraceRecorder recorder(tasks);
  {
    streamgate::ExecutorOptions options;
    options.observer = &recorder;
    options.observed = streamgate::Observed::kAll;  // A service: kTraced, and TaskOptions::trace.
    streamgate::Executor executor(std::move(options));
    const torch::Tensor weight = torch::randn({512, 512});
    std::vector<std::jthread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&] {
        for (std::size_t i = 0; i < tasks / kClients; ++i) {
          (void)executor
              .submit({.op_class = streamgate::OpClass::kRaw, .name = "linear"},
                      [&] {
                        return torch::linear(torch::ones({32, 512}), weight);
                      })
              .get();
        }
      });
    }
  }  // Every task has ended here.
  std::ofstream out(file);
  write_chrome_trace(recorder, out);
  if (!out.flush()) {
    std::cerr << "trace: cannot write " << file << '\n';
    return 2;
  }
  std::cout << recorder.kept() << " tasks: " << file << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: trace OUT.json [TASKS]\n";
    return 2;
  }
  try {
    return run(argv[1], argc > 2 ? std::stoul(argv[2]) : 400);
  } catch (const std::exception& error) {
    std::cerr << "trace: " << error.what() << '\n';
    return 2;
  }
}

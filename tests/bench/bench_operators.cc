// SPDX-License-Identifier: Apache-2.0
#include "bench_operators.h"

#include <streamgate/executor/backends/emulator.h>
#include <streamgate/executor/backends/emulator/metal.h>

#include <ATen/ops/empty_like.h>
#include <torch/library.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <utility>

namespace streamgate::bench {
namespace {

namespace metal = executor::metal;
using policies::OpClass;

std::int64_t now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

at::Tensor hand_over(const at::Tensor& x) { return at::empty_like(x); }

/// The device of this process, which is a worker; its main thread is the one that runs calls.
metal::Device& device_of_worker(std::int64_t microseconds) {
  static auto& device = *[&] {
    policies::FaultModel model;
    model.device.execute = std::chrono::microseconds(microseconds);
    auto* const made = new metal::Device(std::move(model));
    made->initialise();
    return made;
  }();
  return device;
}

std::tuple<std::int64_t, std::int64_t> device_step(const at::Tensor&, std::int64_t microseconds) {
  const std::int64_t begun = now();
  // A composite that calls nothing: the emulator's observer looks through it and encodes nothing.
  if (executor::emulator::current_stream() != nullptr) {
    executor::emulator::encode(OpClass::kKernel, kDeviceStep, [] {});
  } else {
    metal::Stream& stream = device_of_worker(microseconds).stream(0);
    stream.run_sync(
        [&] { stream.encoder().encode({.classes = OpClass::kKernel, .label = kDeviceStep}); });
    if (!stream.synchronize(metal::Clock::now() + std::chrono::seconds(60))) {
      throw std::runtime_error("the emulated device hangs");
    }
  }
  return {begun, getpid()};
}

}  // namespace

TORCH_LIBRARY(streamgate_bench, library) {
  library.def("hand_over(Tensor x) -> Tensor", &hand_over);
  library.def("device_step(Tensor x, int microseconds) -> (int, int)", &device_step);
}

std::unique_ptr<Executor> make_executor(Config config, std::size_t workers) {
  config.overflow.workers = workers;
  config.overflow.min_workers = workers;
  auto made = std::make_unique<Executor>(ExecutorOptions{.config = std::move(config)});
  const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  const auto idle = [&] {
    return made->snapshot().workers.states[static_cast<std::size_t>(executor::WorkerState::kIdle)];
  };
  while (idle() < workers) {
    if (std::chrono::steady_clock::now() > guard) throw std::runtime_error("no worker is ready");
    std::this_thread::yield();
  }
  return made;
}

Config emulated_config(const std::filesystem::path& folder, std::chrono::microseconds execute,
                       std::size_t width) {
  policies::FaultModel model;
  // Beyond the width the process dies: it is the gate that keeps to it.
  model.classes[policies::index_of(OpClass::kKernel)] = {
      .safe_threads = width, .rule = {.fault = policies::Fault::kAbort}};
  model.device.execute = execute;
  model.device.parallel = width;
  const std::filesystem::path file = folder / "model.toml";
  std::ofstream(file) << print_fault_model(model);
  Config config;
  config.executor.backend = "emulator";
  config.executor.threads = width;
  config.executor.allow_oversubscription = true;
  config.emulator.fault_model = file.string();
  auto& gate = config.gates[policies::index_of(OpClass::kKernel)];
  gate.policy = "fixed";
  gate.limit = gate.ceiling = width;
  return config;
}

const std::filesystem::path& scratch_folder() {
  struct Folder {
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("streamgate-bench-" + std::to_string(getpid()));
  };
  static const Folder folder;
  return folder.path;
}

}  // namespace streamgate::bench

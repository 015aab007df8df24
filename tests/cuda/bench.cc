// SPDX-License-Identifier: Apache-2.0
//
// The measurements of docs/cuda.md: a service's clients against one GPU, the naive ways beside
// Streamgate's in one run. One JSON object a line.
#include <streamgate/executor.h>
#include <streamgate/executor/backends/cuda.h>
#include <streamgate/executor/backends/cuda_graph.h>
#include <streamgate/executor/backends/graph_cache.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "../calls/module_files.h"
#include "models.h"

namespace streamgate::testing {
namespace {

using executor::CaptureMode;
using executor::GraphCache;
using executor::GraphFunction;
using executor::GraphResults;
using executor::Tensors;
using policies::OpClass;
using Time = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kWarmUp{700};
const at::Device kDevice(at::kCUDA, 0);

double seconds(Time::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// One client's way to call the model; made on the client's thread. Returns the first value of the
/// result where it is on the host.
using Call = std::function<void(std::size_t turn)>;
using Way = std::function<Call(std::size_t client)>;

at::Tensor pinned(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().pinned_memory(true)).copy_(tensor);
}

/// A call by hand: graph, buffers and stream of one client and one shape.
struct HandWritten {
  at::cuda::CUDAGraph graph;
  at::Tensor input;
  at::Tensor output;
  at::Tensor host_output;
};

std::mutex& capture_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::unique_ptr<HandWritten> capture_by_hand(const Model& model, const at::Tensor& like) {
  auto made = std::make_unique<HandWritten>();
  made->input = like.to(kDevice);
  for (int i = 0; i < 3; ++i) static_cast<void>(model.forward(made->input));
  c10::cuda::getCurrentCUDAStream().synchronize();
  const std::lock_guard lock(capture_mutex());
  made->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  made->output = model.forward(made->input);
  made->graph.capture_end();
  made->host_output = at::empty(
      made->output.sizes(), at::TensorOptions().dtype(made->output.dtype()).pinned_memory(true));
  return made;
}

struct Ways {
  const Model& model;
  bool host;  ///< Inputs come from the host and results go there, else both stay on the device.
  Tensors inputs;

  Ways(const Model& served, bool on_host) : model(served), host(on_host) {
    for (const at::Tensor& input : served.inputs) {
      inputs.push_back(on_host ? pinned(input) : input.to(kDevice));
    }
  }

  void eagerly(std::size_t turn) const {
    const at::NoGradGuard no_grad;
    const at::Tensor& input = inputs[turn % inputs.size()];
    if (host) {
      static_cast<void>(model.forward(input.to(kDevice, /*non_blocking=*/true)).cpu());
    } else {
      const at::Tensor output = model.forward(input);
      c10::cuda::getCurrentCUDAStream().synchronize();
    }
  }

  Way mutex() const {
    auto global = std::make_shared<std::mutex>();
    return [this, global](std::size_t) {
      return [this, global](std::size_t turn) {
        const std::lock_guard lock(*global);
        eagerly(turn);
      };
    };
  }

  /// Not of libtorch's pool, whose 33rd is its 1st: a capture there ends another client's program.
  static std::shared_ptr<c10::cuda::CUDAStreamGuard> own_stream() {
    cudaStream_t stream = nullptr;
    C10_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return std::make_shared<c10::cuda::CUDAStreamGuard>(
        c10::cuda::getStreamFromExternal(stream, kDevice.index()));
  }

  Way eager() const {
    return [this](std::size_t) {
      return [this, guard = own_stream()](std::size_t turn) { eagerly(turn); };
    };
  }

  /// `copies`: inputs and results on the device are handed over as copies, as a service must.
  Way replay(bool copies) const {
    return [this, copies](std::size_t) -> Call {
      const at::NoGradGuard no_grad;
      auto guard = own_stream();
      auto graphs = std::make_shared<std::vector<std::unique_ptr<HandWritten>>>();
      for (const at::Tensor& input : model.inputs) graphs->push_back(capture_by_hand(model, input));
      return [this, copies, guard, graphs](std::size_t turn) {
        const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
        HandWritten& one = *(*graphs)[turn % graphs->size()];
        if (host || copies) {
          one.input.copy_(inputs[turn % inputs.size()], /*non_blocking=*/true);
        }
        one.graph.replay();
        at::Tensor output;
        if (host) {
          one.host_output.copy_(one.output, /*non_blocking=*/true);
        } else if (copies) {
          output = one.output.clone();
        }
        stream.synchronize();
      };
    };
  }
};

/// What a service would have: one executor, one cache, one function.
struct Service {
  executor::Executor executor;
  GraphCache cache;
  GraphFunction forward;

  Service(const Model& model, const std::string& policy)
      : executor({.config = config(policy)}),
        cache(executor, executor::make_cuda_graphs(executor.config())),
        forward(
            [&model](const Tensors& inputs) { return Tensors{model.forward(inputs.front())}; }) {}

  /// "fixed", "knee" or a number, which is a fixed limit.
  static policies::Config config(const std::string& policy) {
    policies::Config config;
    config.executor.backend = "cuda";
    policies::GateConfig& raw = config.gates[policies::index_of(OpClass::kRaw)];
    if (policy.find_first_not_of("0123456789") == std::string::npos) {
      config.executor.streams = 64;
      raw.policy = "fixed";
      raw.limit = std::stoul(policy);
    } else {
      raw.policy = policy;
    }
    return config;
  }

  Way way(const Ways& ways) {
    return [this, &ways](std::size_t) {
      return [this, &ways](std::size_t turn) {
        const at::NoGradGuard no_grad;
        const auto result = executor.run([&](executor::TaskContext& context) {
          return cache
              .run(context, forward, {ways.inputs[turn % ways.inputs.size()]},
                   {.results = ways.host ? GraphResults::kHost : GraphResults::kDevice})
              .front();
        });
        if (result.outcome() != executor::Outcome::kOk) std::abort();
      };
    };
  }
};

struct Measured {
  double per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
};

Measured measure(const Way& way, std::size_t clients, std::chrono::milliseconds time) {
  std::atomic<bool> counting{false};
  std::atomic<bool> stop{false};
  std::vector<std::vector<float>> latencies(clients);
  std::barrier ready(static_cast<std::ptrdiff_t>(clients) + 1);
  std::vector<std::jthread> threads;
  for (std::size_t client = 0; client < clients; ++client) {
    threads.emplace_back([&, client] {
      const Call call = way(client);
      latencies[client].reserve(200'000);
      ready.arrive_and_wait();
      Time::time_point before = Time::now();
      for (std::size_t turn = client; !stop; ++turn) {
        call(turn);
        const Time::time_point now = Time::now();
        if (counting) latencies[client].push_back(static_cast<float>(seconds(now - before) * 1e6));
        before = now;
      }
    });
  }
  ready.arrive_and_wait();
  std::this_thread::sleep_for(kWarmUp);
  counting = true;
  const Time::time_point begin = Time::now();
  std::this_thread::sleep_for(time);
  counting = false;
  const double elapsed = seconds(Time::now() - begin);
  stop = true;
  threads.clear();
  std::vector<float> all;
  for (const auto& each : latencies) all.insert(all.end(), each.begin(), each.end());
  if (all.empty()) return {};
  std::sort(all.begin(), all.end());
  return {.per_second = static_cast<double>(all.size()) / elapsed,
          .p50_us = all[all.size() / 2],
          .p99_us = all[all.size() * 99 / 100]};
}

void say_cache(const Model& model, std::size_t clients, Service& service) {
  const auto cached = service.cache.snapshot();
  std::printf(
      "{\"measure\":\"cache\",\"model\":\"%s\",\"clients\":%zu,\"replays\":%llu,\"eager\":%llu,"
      "\"captures\":%llu,\"failures\":%llu,\"deferred\":%llu,\"graphs\":%zu,\"bytes\":%zu,"
      "\"why\":\"%s\",\"limit\":%zu}\n",
      model.name.c_str(), clients, static_cast<unsigned long long>(cached.replays),
      static_cast<unsigned long long>(cached.eager),
      static_cast<unsigned long long>(cached.captures),
      static_cast<unsigned long long>(cached.failures),
      static_cast<unsigned long long>(cached.deferred), cached.graphs, cached.bytes,
      cached.not_capturable.empty() ? "" : cached.not_capturable.front().c_str(),
      service.executor.snapshot().gates[policies::index_of(OpClass::kRaw)].limit);
}

/// `names`: mutex, eager, replay, replay-copies, or what Service::config takes.
void serve(const Model& model, bool host, const std::vector<std::size_t>& clients,
           std::chrono::milliseconds time, int repetitions, const std::vector<std::string>& names) {
  const Ways ways(model, host);
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    for (const std::size_t count : clients) {
      for (const std::string& name : names) {
        std::unique_ptr<Service> service;
        Way way;
        if (name == "mutex") {
          way = ways.mutex();
        } else if (name == "eager") {
          way = ways.eager();
        } else if (name == "replay" || name == "replay-copies") {
          way = ways.replay(name == "replay-copies");
        } else {
          service = std::make_unique<Service>(model, name);
          way = service->way(ways);
        }
        const Measured measured = measure(way, count, time);
        std::printf(
            "{\"measure\":\"serve\",\"model\":\"%s\",\"data\":\"%s\",\"way\":\"%s%s\","
            "\"clients\":%zu,\"repetition\":%d,\"per_second\":%.0f,\"p50_us\":%.1f,"
            "\"p99_us\":%.1f}\n",
            model.name.c_str(), host ? "host" : "device", service ? "streamgate-" : "",
            name.c_str(), count, repetition, measured.per_second, measured.p50_us, measured.p99_us);
        if (service) say_cache(model, count, *service);
        std::fflush(stdout);
      }
    }
  }
}

/// One client: what run adds to a replay that one would wait for oneself.
void cost(int repetitions) {
  const at::NoGradGuard no_grad;
  const Model model = make_model("mlp6x256", kDevice);
  Service service(model, "fixed");
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const auto by_hand = capture_by_hand(model, model.inputs.front());
  const auto time_of = [](const std::function<void()>& call) {
    constexpr int kCalls = 20'000;
    for (int i = 0; i < 2'000; ++i) call();
    const Time::time_point begin = Time::now();
    for (int i = 0; i < kCalls; ++i) call();
    return seconds(Time::now() - begin) / kCalls * 1e6;
  };
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const double synchronized = time_of([&] {
      by_hand->graph.replay();
      c10::cuda::getCurrentCUDAStream().synchronize();
    });
    const double queried = time_of([&] {
      by_hand->graph.replay();
      const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
      while (!stream.query()) {
      }
    });
    const double through_run = time_of([&] {
      if (service.executor.run([&] { by_hand->graph.replay(); }).outcome() !=
          executor::Outcome::kOk) {
        std::abort();
      }
    });
    const double waited_in_run = time_of([&] {
      static_cast<void>(service.executor.run([&] {
        by_hand->graph.replay();
        c10::cuda::getCurrentCUDAStream().synchronize();
      }));
    });
    const double submitted = time_of([&] {
      static_cast<void>(service.executor.submit([&] { by_hand->graph.replay(); }).get());
    });
    std::printf(
        "{\"measure\":\"cost\",\"repetition\":%d,\"replay_and_synchronize_us\":%.2f,"
        "\"replay_and_query_us\":%.2f,\"run_us\":%.2f,\"run_synchronize_us\":%.2f,"
        "\"submit_us\":%.2f}\n",
        repetition, synchronized, queried, through_run, waited_in_run, submitted);
    std::fflush(stdout);
  }
}

/// 16 threads, half of them capturing new shapes and half eager, until so many calls are made. With
/// and without Streamgate the same program, by libtorch's own graphs ("libtorch") or as the cache
/// captures ("cache"); only that without it captures meet, as where nobody knows the rule.
int mixed(std::uint64_t calls, bool with_streamgate, const std::string& graphs_by,
          CaptureMode mode) {
  const Model model = make_model("mlp6x256", kDevice);
  Service service(model, "fixed");
  const auto graphs = executor::make_cuda_graphs(0, mode);
  constexpr std::int64_t kShapes = 48;
  Tensors inputs;
  Tensors outputs;
  {
    const at::NoGradGuard no_grad;
    for (std::int64_t batch = 1; batch <= kShapes; ++batch) {
      inputs.push_back(at::randn({batch, 256}, kDevice));
      outputs.push_back(model.forward(inputs.back()));
    }
    C10_CUDA_CHECK(cudaDeviceSynchronize());
  }
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> captures{0};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> failed{0};
  const Time::time_point begin = Time::now();
  const auto judge = [&](const at::Tensor& result, std::size_t shape) {
    if (!at::allclose(result, outputs[shape], 1e-3, 1e-3)) ++wrong;
  };
  const bool by_libtorch = graphs_by == "libtorch";
  const auto capture = [&](std::size_t shape) {
    const at::NoGradGuard no_grad;
    // Whatever a thread makes at its first operation cannot be made in a capture.
    thread_local const at::Tensor warm = model.forward(inputs[shape]);
    if (by_libtorch) {
      at::cuda::CUDAGraph graph;
      graph.capture_begin({0, 0}, mode == CaptureMode::kGlobal ? cudaStreamCaptureModeGlobal
                                  : mode == CaptureMode::kRelaxed
                                      ? cudaStreamCaptureModeRelaxed
                                      : cudaStreamCaptureModeThreadLocal);
      const at::Tensor output = model.forward(inputs[shape]);
      graph.capture_end();
      for (int i = 0; i < 20; ++i) {
        graph.replay();
        if (i % 5 == 0) judge(output, shape);
      }
      return 20;
    }
    auto graph =
        graphs->capture(service.forward, {inputs[shape]}, {outputs[shape]}, GraphResults::kDevice);
    for (int i = 0; i < 20; ++i) {
      const at::Tensor result = graph->replay({inputs[shape]}).front();
      if (i % 5 == 0) judge(result, shape);
    }
    return 20;
  };
  const auto raw = [&](std::size_t shape) {
    const at::NoGradGuard no_grad;
    for (int i = 0; i < 20; ++i) {
      const at::Tensor result = model.forward(inputs[shape]);
      if (i == 0) judge(result, shape);
      c10::cuda::getCurrentCUDAStream().synchronize();
    }
    return 20;
  };
  struct Memory {
    std::uint64_t calls;
    executor::CudaMemory of;
  };
  std::vector<Memory> memory;
  std::jthread watch([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (done * 10 / calls >= memory.size()) memory.push_back({done, executor::cuda_memory(0)});
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
  });
  std::vector<std::jthread> threads;
  for (std::size_t thread = 0; thread < 16; ++thread) {
    threads.emplace_back([&, thread] {
      const bool captures_here = thread % 2 == 0;
      std::unique_ptr<c10::cuda::CUDAStreamGuard> guard;
      if (!with_streamgate) {
        guard = std::make_unique<c10::cuda::CUDAStreamGuard>(c10::cuda::getStreamFromPool());
      }
      for (std::size_t turn = thread; done < calls; turn += 7) {
        const std::size_t shape = turn % static_cast<std::size_t>(kShapes);
        try {
          int made = 0;
          if (!with_streamgate) {
            made = captures_here ? capture(shape) : raw(shape);
          } else if (captures_here) {
            made = *service.executor.run({.op_class = OpClass::kGraph},
                                         [&] { return capture(shape); });
          } else {
            made = *service.executor.run([&] { return raw(shape); });
          }
          if (captures_here) ++captures;
          done += static_cast<std::uint64_t>(made);
        } catch (const std::exception& error) {
          if (failed++ == 0) std::fprintf(stderr, "mixed: %.300s\n", error.what());
          if (failed > 100) return;
        }
      }
    });
  }
  threads.clear();
  watch = {};
  for (const Memory& at : memory) {
    std::printf(
        "{\"measure\":\"mixed_memory\",\"calls\":%llu,\"free_mib\":%zu,\"reserved_mib\":%zu,"
        "\"allocated_mib\":%zu}\n",
        static_cast<unsigned long long>(at.calls), at.of.free >> 20, at.of.reserved >> 20,
        at.of.allocated >> 20);
  }
  std::printf(
      "{\"measure\":\"mixed\",\"graphs\":\"%s\",\"streamgate\":%s,\"calls\":%llu,\"captures\":%llu,"
      "\"wrong\":%llu,"
      "\"failed\":%llu,\"seconds\":%.1f}\n",
      graphs_by.c_str(), with_streamgate ? "true" : "false",
      static_cast<unsigned long long>(done.load()),
      static_cast<unsigned long long>(captures.load()),
      static_cast<unsigned long long>(wrong.load()), static_cast<unsigned long long>(failed.load()),
      seconds(Time::now() - begin));
  return wrong != 0 || failed != 0 ? 3 : 0;
}

/// 16 clients of one shape, and one who sends a new shape now and then: what the others notice.
void first_call(std::chrono::milliseconds time) {
  const Model model = make_model("mlp6x256", kDevice);
  Service service(model, "fixed");
  const Ways ways(model, true);
  const auto others = [&] { return measure(service.way(ways), 16, time); };
  const Measured alone = others();
  std::atomic<bool> stop{false};
  std::atomic<int> shapes{0};
  std::jthread newcomer([&] {
    const at::NoGradGuard no_grad;
    for (std::int64_t batch = 33; !stop; ++batch) {
      const at::Tensor input = at::randn({batch % 400 + 33, 256});
      static_cast<void>(service.executor.run([&](executor::TaskContext& context) {
        return service.cache
            .run(context, service.forward, {input},
                 {.use = executor::GraphUse::kAlways, .results = GraphResults::kHost})
            .front();
      }));
      ++shapes;
      std::this_thread::sleep_for(std::chrono::milliseconds{50});
    }
  });
  const Measured beside = others();
  stop = true;
  std::printf(
      "{\"measure\":\"first_call\",\"alone_per_second\":%.0f,\"alone_p99_us\":%.1f,"
      "\"beside_per_second\":%.0f,\"beside_p99_us\":%.1f,\"new_shapes\":%d}\n",
      alone.per_second, alone.p99_us, beside.per_second, beside.p99_us, shapes.load());
}

/// 16 clients, host to host, by name: here alone, and with worker processes. With the graphs that
/// calls have here by default, and without any, as workers have none.
void overflow(std::chrono::milliseconds time, std::size_t workers) {
  ModuleFiles files;
  constexpr std::int64_t kWidth = 256;
  const auto file =
      files.save("mlp.pt",
                 "def forward(self, x):\n"
                 "    for i in range(6):\n"
                 "        x = torch.relu(torch.addmm(self.bias, x, self.weight))\n"
                 "    return x\n",
                 [](torch::jit::Module& module) {
                   module.register_parameter("weight", at::randn({kWidth, kWidth}) / 16, false);
                   module.register_parameter("bias", at::randn({kWidth}), false);
                 });
  const at::Tensor input = at::randn({32, kWidth});
  struct Variant {
    const char* policy;
    std::size_t workers;
    executor::GraphUse graph;
  };
  for (const Variant& variant : {Variant{"never", 0, executor::GraphUse::kNever},
                                 Variant{"cheapest", workers, executor::GraphUse::kNever},
                                 Variant{"when_full", workers, executor::GraphUse::kNever},
                                 Variant{"never", 0, executor::GraphUse::kAuto},
                                 Variant{"cheapest", workers, executor::GraphUse::kAuto}}) {
    policies::Config config;
    config.executor.backend = "cuda";
    config.executor.streams = 64;
    config.overflow.policy = variant.policy;
    config.overflow.workers = variant.workers;
    config.overflow.min_workers = variant.workers;
    // So that there is something to overflow: as many callers wait as are served.
    config.gates[policies::index_of(OpClass::kRaw)].limit = 8;
    config.gates[policies::index_of(OpClass::kRaw)].policy = "fixed";
    executor::Executor executor({.config = config});
    executor.register_module("mlp", file);
    const executor::Operation mlp = executor.operation("mlp.forward");
    const auto idle = [&] {
      return executor.snapshot()
          .workers.states[static_cast<std::size_t>(executor::WorkerState::kIdle)];
    };
    const Time::time_point begin = Time::now();
    while (idle() < variant.workers && Time::now() - begin < std::chrono::seconds{20}) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    const std::size_t ready = idle();
    const Way way = [&](std::size_t) -> Call {
      return [&](std::size_t) {
        const auto result =
            executor.run(mlp, {input}, {.graph = variant.graph, .data = executor::Data::kHost});
        if (result.outcome() != executor::Outcome::kOk) std::abort();
      };
    };
    const Measured measured = measure(way, 16, time);
    const executor::Snapshot seen = executor.snapshot();
    std::printf(
        "{\"measure\":\"overflow\",\"policy\":\"%s\",\"workers\":%zu,\"graph\":\"%s\","
        "\"per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"in_workers\":%llu,"
        "\"replays\":%llu,\"gain\":%.2f}\n",
        variant.policy, ready, variant.graph == executor::GraphUse::kAuto ? "auto" : "never",
        measured.per_second, measured.p50_us, measured.p99_us,
        static_cast<unsigned long long>(
            seen.overflow.outcomes[executor::index_of(executor::Outcome::kOk)]),
        static_cast<unsigned long long>(seen.graphs.replays),
        seen.overflow.measured ? seen.overflow.measured->gain : 0.0);
    std::fflush(stdout);
  }
}

/// One client, large tensors from the host and back: here, in a worker, and in a worker from memory
/// that it shares.
void transfer(int repetitions, std::int64_t mebibytes) {
  policies::Config config;
  config.executor.backend = "cuda";
  config.overflow.workers = config.overflow.min_workers = 1;
  config.overflow.arena_bytes = static_cast<std::size_t>(4 * mebibytes) << 20;
  executor::Executor executor({.config = config});
  const executor::Operation relu = executor.operation("aten::relu");
  const at::Tensor ordinary = at::ones({mebibytes << 18});
  const auto call = [&](const at::Tensor& input, executor::Place place) {
    return *executor.run(relu, {input}, {.place = place, .data = executor::Data::kHost});
  };
  static_cast<void>(call(ordinary, executor::Place::kWorker));  // The worker is ready after it.
  const at::Tensor shared = executor.empty_shared({mebibytes << 18}, at::kFloat);
  shared.fill_(1);
  const auto time_of = [&](const at::Tensor& input, executor::Place place) {
    constexpr int kCalls = 20;
    for (int i = 0; i < 3; ++i) static_cast<void>(call(input, place));
    const Time::time_point begin = Time::now();
    for (int i = 0; i < kCalls; ++i) static_cast<void>(call(input, place));
    return seconds(Time::now() - begin) / kCalls * 1e3;
  };
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const double here = time_of(ordinary, executor::Place::kHere);
    const double worker = time_of(ordinary, executor::Place::kWorker);
    const double from_shared = time_of(shared, executor::Place::kWorker);
    std::printf(
        "{\"measure\":\"transfer\",\"mebibytes\":%lld,\"repetition\":%d,\"here_ms\":%.2f,"
        "\"worker_ms\":%.2f,\"worker_from_shared_ms\":%.2f}\n",
        static_cast<long long>(mebibytes), repetition, here, worker, from_shared);
    std::fflush(stdout);
  }
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> list;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    list.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return list;
}

std::vector<std::size_t> numbers(const std::string& text) {
  std::vector<std::size_t> list;
  for (const std::string& number : split(text)) list.push_back(std::stoul(number));
  return list;
}

int run(const std::vector<std::string>& words) {
  const auto word = [&](std::size_t at, const char* otherwise) {
    return at < words.size() ? words[at] : std::string(otherwise);
  };
  const std::string what = word(0, "");
  if (what == "serve") {
    const Model model = make_model(word(1, "mlp6x256"), kDevice);
    serve(model, word(2, "host") == "host", numbers(word(3, "1,4,16,32,64")),
          std::chrono::milliseconds{std::stoul(word(4, "1000"))}, std::stoi(word(5, "1")),
          split(word(6, "mutex,eager,replay,replay-copies,fixed,knee")));
    return 0;
  }
  if (what == "cost") return cost(std::stoi(word(1, "3"))), 0;
  if (what == "mixed") {
    return mixed(std::stoull(word(1, "2000000")), word(2, "with") == "with", word(3, "libtorch"),
                 executor::capture_mode_of(word(4, "thread_local")));
  }
  if (what == "overflow") {
    return overflow(std::chrono::milliseconds{std::stoul(word(1, "3000"))},
                    std::stoul(word(2, "4"))),
           0;
  }
  if (what == "transfer") return transfer(std::stoi(word(1, "3")), std::stoi(word(2, "64"))), 0;
  if (what == "first_call") {
    return first_call(std::chrono::milliseconds{std::stoul(word(1, "3000"))}), 0;
  }
  std::fprintf(stderr,
               "usage: serve MODEL host|device CLIENTS,... MILLISECONDS REPETITIONS WAYS,...\n"
               "       cost REPETITIONS | mixed CALLS with|without libtorch|cache MODE\n"
               "       first_call MILLISECONDS | overflow MILLISECONDS WORKERS\n"
               "       transfer REPETITIONS MEBIBYTES\n");
  return 2;
}

}  // namespace
}  // namespace streamgate::testing

int main(int count, char** words) {
  // The workers of the measurement are this program.
  if (const auto code = streamgate::serve_as_worker(count, words)) return *code;
  try {
    return streamgate::testing::run({words + 1, words + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// From a config to an executor: the automatic values, and the checks that need to know the machine.
#include <streamgate/executor/executor.h>

#include <streamgate/executor/internal/core.h>
#include <streamgate/executor/internal/log.h>
#include <streamgate/executor/internal/measured_limits.h>
#include <streamgate/executor/learned_class.h>
#if STREAMGATE_WITH_TORCH
#include <streamgate/executor/internal/call_graphs.h>
#include <streamgate/executor/internal/module_registry.h>
#endif
#if STREAMGATE_WITH_CUDA
#include <streamgate/executor/backends/cuda_graph.h>
#endif
#if STREAMGATE_WITH_WORKERS
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/workers/call_request.h>
#include <streamgate/executor/workers/worker_overflow.h>
#include <streamgate/executor/workers/worker_program.h>
#endif

#include <oneapi/tbb/info.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::OpClass;

/// Of the table of keys; it lives as long as the program.
constexpr std::string_view kLimitsFileKey = "limits.file";

std::size_t cores() { return static_cast<std::size_t>(oneapi::tbb::info::default_concurrency()); }

/// Replaces every "the executor decides" by what it decides.
void resolve_threads(policies::Config::Executor& config) {
  const std::size_t available = cores();
  if (config.threads == 0) {
    config.threads =
        std::max<std::size_t>(1, available / std::max<std::size_t>(1, config.intra_op_threads));
  }
  if (config.intra_op_threads == 0) {
    config.intra_op_threads = std::max<std::size_t>(1, available / config.threads);
  }
  const std::size_t product = config.threads * config.intra_op_threads;
  if (product > std::max(available, config.threads) && !config.allow_oversubscription) {
    throw std::invalid_argument(
        "executor.threads = " + std::to_string(config.threads) +
        " times executor.intra_op_threads = " + std::to_string(config.intra_op_threads) + " is " +
        std::to_string(product) + ", more than the " + std::to_string(available) +
        " cores of this machine, which slows libtorch down by orders of magnitude; lower one, or "
        "set "
        "executor.allow_oversubscription = true");
  }
}

#if STREAMGATE_WITH_TORCH
/// Where modules are, and the tensors of calls, in libtorch's words. Backends that are not named
/// are of the CPU, or have no device at all.
std::string torch_device_of(const policies::Config& config) {
  if (config.executor.backend == "cuda") return "cuda:" + std::to_string(config.cuda.device);
  return config.executor.backend == "mps" ? "mps" : "cpu";
}
#endif

/// Gives calls the way to worker processes, if the config asks for any.
void open_overflow(Core& core) {
  const policies::Config::Overflow config = core.config().overflow;
  if (config.workers == 0) return;
#if STREAMGATE_WITH_WORKERS
  WorkerPoolOptions pool{.min_workers = std::min(config.min_workers, config.workers),
                         .max_workers = config.workers,
                         .run_for = config.run_timeout,
                         .hang_after = config.hang_timeout,
                         .idle_after = config.idle_timeout,
                         .recycle_calls = config.recycle_calls,
                         .recycle_growth = config.recycle_growth_bytes};
  pool.supervisor.program = worker_program(config.worker_command);
  pool.supervisor.channel = {.host_arena_bytes = config.arena_bytes,
                             .worker_arena_bytes = config.arena_bytes};
  // The dynamic linker reads some hundreds of megabytes before a worker can say a word: 0.5 s when
  // they are in memory, more than 10 s from the disk of a busy machine.
  pool.supervisor.start_within = std::chrono::seconds(60);
  // As many as here give the same bits: libtorch splits sums among its threads.
  pool.supervisor.intra_op_threads =
      config.worker_threads != 0 ? config.worker_threads : core.config().executor.intra_op_threads;
  pool.supervisor.identity = loaded_torch_identity();
  pool.supervisor.configuration = configuration_text(torch_device_of(core.config()));
  const std::optional<policies::OverflowGain>& probed = core.measured().limits.overflow;
  core.open_overflow([&](OverflowHome& home) {
    return std::make_unique<WorkerOverflow>(
        config, std::move(pool), probed ? std::optional(probed->gain) : std::nullopt, home);
  });
#else
  throw std::invalid_argument("overflow.workers = " + std::to_string(config.workers) +
                              ", but this build has no worker processes: they need libtorch, and "
                              "Linux; set overflow.workers = 0");
#endif
}

std::unique_ptr<Core> make_core(ExecutorOptions options) {
  policies::Config& config = options.config;
  if (!options.backend) options.backend = make_backend(config);
  config.executor.backend = std::string(options.backend->name());
  resolve_threads(config.executor);
  if (config.executor.streams < 1 || config.executor.streams > StreamPool::kMaxSlots) {
    throw std::invalid_argument("executor.streams = " + std::to_string(config.executor.streams) +
                                "; allowed: 1.." + std::to_string(StreamPool::kMaxSlots));
  }
  std::optional<policies::Limits> limits = read_limits(config);
  auto classifier = std::make_unique<Classifier>(config);
  // Before the gates: only an initialised device says what it is, and so which limits hold.
  options.backend->initialise(config.executor.intra_op_threads);
  MeasuredLimits measured = judge(std::move(limits), config, *options.backend);
  const std::size_t streams = std::min(config.executor.streams, options.backend->max_streams());
  resolve_gates(config, measured, streams, *options.backend);
  GateOptions gate;
  for (const OpClass op_class : policies::kAllOpClasses) {
    gate.ceilings[index_of(op_class)] = config.gates[index_of(op_class)].ceiling;
  }
  gate.incompatible = std::move(options.incompatible);
  gate.incompatible.insert(gate.incompatible.end(), measured.limits.incompatible.begin(),
                           measured.limits.incompatible.end());
  if (!options.limit_policy) {
    options.limit_policy = [](OpClass, const policies::LimitPolicyOptions& policy) {
      return policies::make_limit_policy(policy);
    };
  }
  const std::string said = notice(measured, *options.backend);
  auto core = std::make_unique<Core>(std::move(config), std::move(options.backend), gate,
                                     std::move(measured), std::move(classifier),
                                     std::move(options.limit_policy));
  core->observe_with(options.observer, options.observed);
  if (!said.empty()) log_each(LogLevel::kWarning, "limits_not_used", said);
  open_overflow(*core);
  return core;
}

std::shared_ptr<ModuleRegistry> make_modules([[maybe_unused]] const Core& core) {
#if STREAMGATE_WITH_TORCH
  return std::make_shared<ModuleRegistry>(torch_device_of(core.config()));
#else
  return nullptr;
#endif
}

std::shared_ptr<CallGraphs> make_graphs(
    [[maybe_unused]] Executor& executor, [[maybe_unused]] const policies::Config& config,
    [[maybe_unused]] const std::function<std::unique_ptr<GraphDevice>()>& own) {
#if STREAMGATE_WITH_TORCH
  const std::size_t bytes = config.cuda.graph_cache_bytes;
  if (own)
    return std::make_shared<CallGraphs>(executor, own(), GraphCacheOptions{.max_bytes = bytes});
#if STREAMGATE_WITH_CUDA
  if (config.executor.backend == "cuda" && bytes != 0) {
    return std::make_shared<CallGraphs>(executor, make_cuda_graphs(config),
                                        GraphCacheOptions{.max_bytes = bytes});
  }
#endif
#endif
  return nullptr;
}

}  // namespace

// ---- the caller of run ----

Waiter* CallerNode::publish(Outcome) noexcept {
  may_run_ = false;
  parker_.wake();
  return nullptr;
}

void CallerNode::wake_to_run() noexcept {
  may_run_ = true;
  parker_.wake();
}

bool CallerNode::wait_turn() {
  // No deadline of its own: the timer ends the task at the task's.
  static_cast<void>(parker_.park_until(Clock::time_point::max()));
  return may_run_;
}

// ---- the executor ----

Executor::Executor(ExecutorOptions options) {
  const auto graphs = std::move(options.graphs);
  core_ = make_core(std::move(options));
  modules_ = make_modules(*core_);
  graphs_ = make_graphs(*this, core_->config(), graphs);
}

Executor::Executor(const std::filesystem::path& config_file)
    : Executor(ExecutorOptions{.config = policies::load_config(config_file)}) {}

Executor::~Executor() {
  const auto patience = core_->config().executor.drain_timeout;
  DrainReport report = core_->drain(Drain::kCancelQueued, Clock::now() + patience);
  if (report.drained) return;
  const std::string running = std::to_string(report.running);
  log_each(
      LogLevel::kWarning, "destroyed_while_running",
      "an executor is being destroyed while " + running + " of its tasks still run after " +
          std::to_string(patience.count()) +
          " ms; waiting on. Remedy: end them (TaskContext::cancel_requested), or drain() before "
          "the destructor",
      {{"running", running}});
  report = core_->drain(Drain::kCancelAll, Clock::time_point::max());
}

DrainReport Executor::drain(Drain mode, Clock::time_point deadline) {
  if (Core::current_task() != nullptr && &Core::current_task()->core == core_.get()) {
    throw NestedWaitError("drain() inside a task of the same executor would wait for itself");
  }
  return core_->drain(mode, deadline);
}

std::vector<std::string_view> Executor::apply(const policies::Config& config) {
  std::vector<std::string_view> for_restart = take_over(config);
  core_->count_reload(for_restart.size());
  return for_restart;
}

std::vector<std::string_view> Executor::take_over(const policies::Config& config) {
  policies::Config wanted = config;
  const policies::Config present = core_->config();
  // An automatic value stays what it was resolved to.
  if (wanted.executor.threads == 0) wanted.executor.threads = present.executor.threads;
  if (wanted.executor.intra_op_threads == 0) {
    wanted.executor.intra_op_threads = present.executor.intra_op_threads;
  }
  const MeasuredLimits& measured = core_->measured();
  // Other limits come with a restart, and their ceilings with them.
  if (wanted.limits == present.limits) check_ceilings(wanted, measured);
  // Limits are judged against the ceilings in force: those change only on a restart.
  std::array<std::size_t, policies::kOpClasses> wanted_ceilings{};
  for (const OpClass op_class : policies::kAllOpClasses) {
    policies::GateConfig& gate = wanted.gates[index_of(op_class)];
    const std::size_t in_force = present.gates[index_of(op_class)].ceiling;
    const bool stays = gate.ceiling == 0 || measured.holds_at_one(op_class);
    wanted_ceilings[index_of(op_class)] = stays ? in_force : gate.ceiling;
    gate.ceiling = in_force;
  }
  // An automatic limit goes with the workers that there are; wanted ones come with a restart.
  policies::Config::Executor wanted_executor = std::exchange(wanted.executor, present.executor);
  resolve_gates(wanted, measured, 0, core_->backend());
  wanted.executor = std::move(wanted_executor);
  for (const OpClass op_class : policies::kAllOpClasses) {
    wanted.gates[index_of(op_class)].ceiling = wanted_ceilings[index_of(op_class)];
  }
  return core_->apply(wanted);
}

std::vector<std::string_view> Executor::reload(const std::filesystem::path& config_file) {
  try {
    const policies::Config config = policies::load_config(config_file);
    // Nor is a limits file taken on trust until the restart that would fail on it.
    const std::optional<policies::Limits> limits = read_limits(config);
    std::vector<std::string_view> for_restart = take_over(config);
    if (config.limits == core_->config().limits && limits != core_->measured().read) {
      for_restart.push_back(kLimitsFileKey);
    }
    core_->count_reload(for_restart.size());
    return for_restart;
  } catch (...) {
    core_->count_failed_reload();
    throw;
  }
}

std::size_t Executor::set_limit(OpClass op_class, std::size_t limit) noexcept {
  return core_->set_limit(op_class, limit);
}

policies::Config Executor::config() const { return core_->config(); }
Snapshot Executor::snapshot() const {
  Snapshot now = core_->snapshot();
#if STREAMGATE_WITH_TORCH
  if (graphs_) now.graphs = graphs_->snapshot();
#endif
  return now;
}
Provenance Executor::provenance() const { return core_->backend().provenance(); }
const Classifier& Executor::classifier() const noexcept { return core_->classifier(); }

policies::OpClassSet Executor::classify(const TaskOptions& options) const noexcept {
  if (!options.op_class && options.learn != nullptr) return options.learn->op_class();
  return core_->classify(options.op_class);
}

void Executor::submit_node(TaskNode& node, const std::stop_token& stop) noexcept {
  core_->submit(node, stop);
}

Outcome Executor::run_node(CallerNode& node, const std::stop_token& stop) {
  return core_->run(node, stop);
}

}  // namespace streamgate::executor

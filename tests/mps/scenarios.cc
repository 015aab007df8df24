// SPDX-License-Identifier: Apache-2.0
//
// What executor_test.cc runs in children of its own: each scenario is a small program.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/event.h"
#include "child.h"
#include "mps_support.h"

#include <ATen/mps/MPSStream.h>

namespace streamgate::testing {
namespace {

using executor::Backend;
using executor::make_mps_backend;

constexpr std::size_t kScenarioTasks = 10'000;
constexpr executor::StreamIndex kFirst = kHasPool ? 1 : 0;

int fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return 1;
}

policies::FaultModel fragile_model() {
  policies::FaultModel model = stand_in::sound_model();
  model.classes[policies::index_of(OpClass::kKernel)] = {.safe_threads = 2,
                                                         .rule = {.fault = policies::Fault::kSegv}};
  model.classes[policies::index_of(OpClass::kGraph)] = {.safe_threads = 3,
                                                        .rule = {.fault = policies::Fault::kAbort}};
  return model;
}

/// One stream hides its users' widths; what kills there is the state of the command buffer that
/// libtorch looks at past the queue.
constexpr Encode kHow = kHasPool ? Encode::kInTheQueue : Encode::kPastTheQueue;

int mixed_tasks(std::size_t kernel_ceiling, std::size_t graph_ceiling) {
  stand_in::prepare({.model = fragile_model()});
  Config config = mps_config();
  const auto set = [&config](OpClass op_class, std::size_t width) {
    config.gates[policies::index_of(op_class)].limit = width;
    config.gates[policies::index_of(op_class)].ceiling = width;
  };
  set(OpClass::kKernel, kernel_ceiling);
  set(OpClass::kGraph, graph_ceiling);
  Executor executor(on_mps(config));
  const std::size_t wrong = wrong_results_of_mixed_tasks(executor, kScenarioTasks, kHow);
  return wrong == 0 ? 0 : fail(std::to_string(wrong) + " wrong results");
}

int gated() { return mixed_tasks(2, 3); }

int ungated() {
  if (kHasPool) return mixed_tasks(16, 16);
  // With one stream the executor is the gate, whatever its limits: so these threads have none.
  stand_in::prepare({.model = fragile_model()});
  make_mps_backend(mps_config())->initialise(1);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([] {
      for (std::size_t task = 0; task < kScenarioTasks; ++task) {
        stand_in::encode_past_the_queue({.label = "ungated"});
      }
    });
  }
  return 0;
}

/// Runs in a forked child, and tells by its exit code; a hang ends by the alarm.
template <typename InChild>
int exit_code_of_fork(InChild in_child) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(in_child());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status);
}

template <typename Call>
bool refuses(Call call, const std::string& text) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    if (std::string(error.what()).find(text) != std::string::npos) return true;
    std::fprintf(stderr, "another error: %s\n", error.what());
  }
  return false;
}

class NeverDone final : public executor::StreamDone {
 public:
  void on_stream_done() noexcept override { std::abort(); }
};

int forked() {
  Executor executor(on_mps(mps_config()));
  const auto encode = [] { stand_in::encode({.label = "before the fork"}); };
  if (!executor.run(encode)) return fail("the parent's own task failed");
  const auto backend = make_mps_backend(mps_config());
  backend->initialise(1);
  // The one stream of the tier single is the executor's.
  if (kHasPool) backend->open_stream(2);
  const int in_child = exit_code_of_fork([&] {
    const std::string text = "forked";
    if (!refuses([&] { static_cast<void>(executor.run(encode)); }, text)) return 2;
    if (!refuses([&] { make_mps_backend(mps_config())->initialise(1); }, text)) return 3;
    if (!refuses([&] { backend->initialise(1); }, text)) return 4;
    if (!refuses([&] { backend->open_stream(kHasPool ? 3 : 0); }, text)) return 5;
    if (!kHasPool) return 0;
    if (!refuses([&] { backend->require_usable(2); }, text)) return 6;
    // These cannot throw; the stand-ins die of a call of theirs.
    backend->enter(2, Backend::Thread::kCaller);
    backend->leave(2, Backend::Thread::kCaller);
    NeverDone never;
    if (backend->notify_when_done(2, never) != executor::Progress::kDone) return 7;
    if (backend->synchronize(2, Clock::now() + kGuard)) return 8;
    return 0;
  });
  if (in_child != 0) return fail("the forked child said " + std::to_string(in_child));
  if (!executor.run(encode)) return fail("the parent's task after the fork failed");
  return 0;
}

int forked_past_the_backend() {
  make_mps_backend(mps_config())->initialise(1);
  const int in_child =
      exit_code_of_fork([] { return static_cast<int>(stand_in::current_stream()); });
  return in_child == 128 + SIGABRT ? 0 : fail("nobody noticed: " + std::to_string(in_child));
}

/// Looks, as the last thing that happens in the process, whether libtorch was called after main.
struct LastLook {
  LastLook() = default;
  ~LastLook() {
    if (const std::size_t calls = stand_in::counts().calls_after_main) {
      std::fprintf(stderr, "%zu calls after main\n", calls);
      _exit(1);
    }
    if (!task_ended) {
      std::fprintf(stderr, "the task did not end after main\n");
      _exit(2);
    }
  }
  bool task_ended = false;
};

int after_main() {
  // Destroyed in the reverse order: the executor, whose last task is still running, comes first.
  static LastLook look;
  static Event main_has_returned;
  static Executor executor(on_mps(mps_config()));
  // Registered before the backend's own handler, which comes with the first stream, and so called
  // after it: from then on there must be no call.
  std::atexit([] {
    stand_in::main_returns();
    main_has_returned.set();
  });
  static Event started;
  static auto future = executor.submit([] {
    stand_in::encode({.label = "before the end"});
    started.set();
    look.task_ended = main_has_returned.wait();
  });
  return started.wait() ? 0 : fail("the task did not start");
}

int no_device() {
  stand_in::prepare({.has_device = false});
  const auto construct = [] { const Executor executor(on_mps(mps_config())); };
  if (!refuses(construct, "finds no MPS device")) return fail("not refused");
  if (!refuses(construct, "Remedy: ")) return fail("no remedy is named");
  return 0;
}

int forced_graph_path() {
  unsetenv("MPS_FORCE_GRAPH_PATH");
  Config config = mps_config();
  config.mps.force_graph_path = true;
  const Executor executor(on_mps(config));
  const std::string seen = stand_in::graph_path_at_first_call();
  return seen == "1" ? 0 : fail("libtorch saw '" + seen + "' at its first call");
}

int graph_path_forced_too_late() {
  unsetenv("MPS_FORCE_GRAPH_PATH");
  Config config = mps_config();
  make_mps_backend(config)->initialise(1);
  if (std::getenv("MPS_FORCE_GRAPH_PATH") != nullptr) return fail("forced without being asked to");
  config.mps.force_graph_path = true;
  return refuses([&] { make_mps_backend(config)->initialise(1); }, "came too late")
             ? 0
             : fail("not refused");
}

int first_task_elsewhere() {
  Executor executor(on_mps(mps_config()));
  bool fine = false;
  std::jthread([&] {
    fine = executor.run([] { stand_in::encode({.label = "first"}); }).ok();
  }).join();
  return fine ? 0 : fail("the task failed");
}

int failing_commit() {
  Executor executor(on_mps(mps_config()));
  const auto nothing = [] {};
  if (!executor.run(nothing)) return fail("the first task failed");
  stand_in::fail_command_buffers();
  // The task itself is done when this happens, and it encoded nothing.
  static_cast<void>(executor.run(nothing));
  return refuses([&] { static_cast<void>(executor.run(nothing)); }, "out of use")
             ? 0
             : fail("a stream that could not be committed was used again");
}

int uninitialised() { return static_cast<int>(stand_in::current_stream()); }

int initialised_elsewhere() {
  std::jthread([] { make_mps_backend(mps_config())->initialise(1); }).join();
  return 0;
}

int past_the_queue() {
  make_mps_backend(mps_config())->initialise(1);
  at::mps::getDefaultMPSStream()->synchronize(at::mps::SyncType::COMMIT);
  return 0;
}

int two_owners() {
  const auto backend = make_mps_backend(mps_config());
  backend->initialise(1);
  backend->open_stream(kFirst);
  backend->enter(kFirst, Backend::Thread::kCaller);
  std::jthread([&] { backend->enter(kFirst, Backend::Thread::kCaller); }).join();
  return 0;
}

const std::map<std::string, int (*)()>& scenarios() {
  static const std::map<std::string, int (*)()> all = {
      {"gated", &gated},
      {"ungated", &ungated},
      {"forked", &forked},
      {"forked-past-the-backend", &forked_past_the_backend},
      {"after-main", &after_main},
      {"no-device", &no_device},
      {"forced-graph-path", &forced_graph_path},
      {"graph-path-forced-too-late", &graph_path_forced_too_late},
      {"first-task-elsewhere", &first_task_elsewhere},
      {"failing-commit", &failing_commit},
      {"uninitialised", &uninitialised},
      {"initialised-elsewhere", &initialised_elsewhere},
      {"past-the-queue", &past_the_queue},
      {"two-owners", &two_owners},
  };
  return all;
}

}  // namespace

int run_scenario(const std::string& name) {
  const auto scenario = scenarios().find(name);
  if (scenario == scenarios().end()) return fail("no scenario " + name);
  return scenario->second();
}

}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// From the executor's streams to those of the emulated Metal, and from a task to its stream.
#include <streamgate/executor/backends/emulator.h>

#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/executor/backends/emulator/op_observer.h>
#include <streamgate/executor/backends/inline.h>
#include <streamgate/executor/classifier.h>
#if STREAMGATE_WITH_TORCH
#include <streamgate/executor/backends/cpu.h>
#endif
#include <streamgate/executor/stream_pool.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace streamgate::executor {
namespace {

using policies::OpClassSet;

using Classify = std::function<std::optional<OpClassSet>(std::string_view)>;

/// What is current on a thread.
struct Current {
  metal::Stream* stream = nullptr;
  const Classify* classify = nullptr;
};
thread_local std::vector<Current> entered;
thread_local unsigned host_work = 0;

Current current() noexcept { return entered.empty() ? Current{} : entered.back(); }

/// The backend that keeps libtorch's threads at a task's share: the maths are done on the CPU.
std::unique_ptr<Backend> make_cores() {
#if STREAMGATE_WITH_TORCH
  return make_cpu_backend();
#else
  return make_inline_backend();
#endif
}

/// FNV-1a, 64 bits, of the model as it is printed.
std::string fingerprint(const policies::FaultModel& model) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : print_fault_model(model)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

class EmulatorBackend final : public Backend {
 public:
  explicit EmulatorBackend(EmulatorOptions options)
      : cores_(make_cores()),
        classify_(std::move(options.classify)),
        device_(std::move(options.model), [this] { cores_->bind_worker(); }) {}

  std::string_view name() const noexcept override { return "emulator"; }

  void initialise(std::size_t intra_op_threads) override {
    cores_->initialise(intra_op_threads);
    device_.initialise();
  }

  Provenance provenance() const override {
    Provenance provenance = cores_->provenance();
    provenance.backend = "emulator";
    // Limits that were measured on another model do not hold on this one.
    provenance.device = "emulated Metal, fault model " + fingerprint(device_.model());
    return provenance;
  }

  std::size_t max_streams() const noexcept override {
    return std::min(device_.streams(), StreamPool::kMaxSlots);
  }
  OpClassSet default_class() const noexcept override { return policies::kUnknownOpClass; }
  /// Tasks wait for the device's time, not for a core.
  bool shares_cores() const noexcept override { return false; }

  void bind_worker() noexcept override { cores_->bind_worker(); }
  void unbind_worker() noexcept override { cores_->unbind_worker(); }
  void open_stream(StreamIndex) override {}

  void enter(StreamIndex stream, Thread thread) noexcept override {
    cores_->enter(stream, thread);
    if (classify_) emulator::internal::observe_operators_of_this_thread();
    entered.push_back({&device_.stream(stream), classify_ ? &classify_ : nullptr});
  }
  void leave(StreamIndex stream, Thread thread) noexcept override {
    entered.pop_back();
    cores_->leave(stream, thread);
  }

  Progress notify_when_done(StreamIndex index, StreamDone& done) noexcept override {
    metal::Stream& stream = device_.stream(index);
    return stream.run_sync([&] {
      // So that the next task's thread does not find this one's encoder.
      stream.end_encoding();
      if (!stream.busy()) return Progress::kDone;
      stream.command_buffer().add_completed_handler([&stream, &done] {
        // Nobody synchronised, so nobody else will hear of it; the next task should not.
        if (const std::exception_ptr error = stream.take_error()) report(error);
        done.on_stream_done();
      });
      stream.commit();
      return Progress::kPending;
    });
  }

  bool synchronize(StreamIndex stream,
                   std::chrono::steady_clock::time_point deadline) noexcept override {
    return device_.stream(stream).synchronize(deadline);
  }

 private:
  static void report(const std::exception_ptr& error) noexcept {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& exception) {
      std::fprintf(stderr, "emulated Metal: a kernel threw: %s\n", exception.what());
    } catch (...) {
      std::fputs("emulated Metal: a kernel threw\n", stderr);
    }
  }

  std::unique_ptr<Backend> cores_;
  const Classify classify_;
  metal::Device device_;
};

metal::Stream& stream_of_task(const char* function) {
  if (metal::Stream* const stream = emulator::current_stream()) return *stream;
  throw std::logic_error(std::string("emulator::") + function +
                         " outside a task of an executor on the emulator");
}

}  // namespace

std::unique_ptr<Backend> make_emulator_backend(EmulatorOptions options) {
  return std::make_unique<EmulatorBackend>(std::move(options));
}

std::unique_ptr<Backend> make_emulator_backend(const policies::Config& config) {
  EmulatorOptions options;
  if (!config.emulator.fault_model.empty()) {
    options.model = policies::find_fault_model(config.emulator.fault_model);
  }
  policies::Config ours = config;
  ours.executor.backend = "emulator";
  // Shared by the copies of the function. Unknown operations are the executor's to count.
  options.classify = [classifier = std::make_shared<const Classifier>(ours)](
                         std::string_view operation) { return classifier->look_up(operation); };
  return make_emulator_backend(std::move(options));
}

// ---- a task and its stream ----

namespace emulator {

void encode(OpClassSet classes, std::string_view label, std::span<std::byte> output,
            std::function<void()> kernel) {
  metal::Stream& stream = stream_of_task("encode");
  stream.run_sync([&] {
    stream.encoder().encode(
        {.classes = classes, .label = label, .kernel = std::move(kernel), .output = output});
  });
}

void synchronize() {
  metal::Stream& stream = stream_of_task("synchronize");
  static_cast<void>(stream.synchronize(metal::Clock::time_point::max()));
  if (const std::exception_ptr error = stream.take_error()) std::rethrow_exception(error);
}

metal::Stream* current_stream() noexcept { return current().stream; }

HostWork::HostWork() noexcept { ++host_work; }
HostWork::~HostWork() { --host_work; }

namespace internal {

bool operators_are_encoded() noexcept { return host_work == 0 && current().classify != nullptr; }

std::optional<OpClassSet> class_of_operator(std::string_view name) {
  return (*current().classify)(name);
}

void encode_operator(std::string_view name, OpClassSet classes, std::span<std::byte> output) {
  metal::Stream& stream = *current().stream;
  stream.run_sync(
      [&] { stream.encoder().encode({.classes = classes, .label = name, .output = output}); });
}

void wait_for_operators() noexcept {
  static_cast<void>(current().stream->synchronize(metal::Clock::time_point::max()));
}

#if !STREAMGATE_WITH_TORCH
void observe_operators_of_this_thread() {}
#endif

}  // namespace internal
}  // namespace emulator

}  // namespace streamgate::executor

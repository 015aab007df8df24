// SPDX-License-Identifier: Apache-2.0
//
// What a trial runs: the operations of each op class on one backend, with the results they must
// have. It knows its device and nothing of widths, threads or failures; those are the trial's.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor::probe {

/// The operations of one thread, on a stream of its own.
///
/// Confined to its thread, which also opened it. Owned by the trial. Blocking: finish waits for the
/// device; a device that hangs hangs the caller, whose process the probe then ends. Failure: the
/// process dies, as the device has it; std::bad_alloc and std::system_error are a lack of
/// resources; any other exception is a failure of the operation.
class Operations {
 public:
  virtual ~Operations() = default;

  /// Encodes the next operation, and does not wait for it.
  virtual void encode() = 0;

  /// Waits for all operations since the last call. Returns how many of their results differ from
  /// the serial reference.
  [[nodiscard]] virtual std::size_t finish() = 0;
};

/// The operations of one backend.
///
/// Thread-safety: open may be called on many threads at once, all else on the thread that called
/// initialise. Ownership: it must outlive its Operations. Blocking: prepare waits for the device.
/// Failure: initialise and prepare throw std::runtime_error that says what and the remedy.
///
///     const auto workload = make_workload({.backend = "cpu"});
///     workload->initialise();
///     workload->prepare(OpClass::kRaw);
///     const auto operations = workload->open(OpClass::kRaw, 0);
///     operations->encode();
///     if (operations->finish() != 0) report_wrong_result();
class Workload {
 public:
  virtual ~Workload() = default;

  /// Called once, on the main thread, before anything else.
  virtual void initialise() = 0;
  [[nodiscard]] virtual Provenance provenance() const = 0;

  /// The classes that have operations here, without exclusive: its width is 1 by definition.
  [[nodiscard]] virtual std::vector<policies::OpClass> classes() const = 0;
  [[nodiscard]] virtual std::size_t max_streams() const noexcept = 0;
  /// Whether calls, which may overflow to worker processes, are of this class.
  [[nodiscard]] virtual bool is_called(policies::OpClass) const noexcept { return true; }
  /// The name of the class's operation; the same for the life of the workload.
  [[nodiscard]] virtual std::string_view operation(policies::OpClass op_class) const noexcept = 0;
  /// How long no thread may make progress before that is a hang and no longer slowness.
  [[nodiscard]] virtual std::chrono::milliseconds hang_after() const noexcept = 0;

  /// Computes the serial reference of the class, nothing else running.
  virtual void prepare(policies::OpClass op_class) = 0;

  /// On the thread that will use them. REQUIRES: the class was prepared; no other Operations have
  /// this stream.
  [[nodiscard]] virtual std::unique_ptr<Operations> open(policies::OpClass op_class,
                                                         StreamIndex stream) = 0;
};

struct WorkloadOptions {
  std::string backend = "cpu";
  std::string fault_model{};  ///< For the emulator: a shipped name or a file; empty: never fails.
  std::string capture_mode =
      "thread_local";  ///< For cuda: also "relaxed", and "global", which dies.
};

/// Throws what make_workload would throw, and touches no device.
void check_workload(const WorkloadOptions& options);

/// Throws std::invalid_argument that names the backends which can be probed, and what the fault
/// model's reading throws.
[[nodiscard]] std::unique_ptr<Workload> make_workload(const WorkloadOptions& options);

/// The backends of this build that can be probed.
[[nodiscard]] std::vector<std::string_view> probed_backends();

}  // namespace streamgate::executor::probe

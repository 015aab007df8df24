// SPDX-License-Identifier: Apache-2.0
//
// <streamgate/executor/backends/emulator.h>: a backend that behaves as Metal does, on any machine,
// and how a task gives it work. It is for the tests of services and of this library; nobody's
// production runs on it. The model of Metal below it is emulator/metal.h.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/policies/fault_model.h>
#include <streamgate/policies/op_class.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace streamgate::executor {

namespace metal {
class Stream;
}

struct EmulatorOptions {
  policies::FaultModel model{};
  /// The class of an operator by its name, as "aten::linear". When set, every operator that a task
  /// calls through libtorch is encoded on the task's stream, as on a Mac; see emulator::HostWork
  /// for what should not be. One without a class is encoded as the operators that it calls, where
  /// it does nothing else, and else as kernel and graph. Must be callable from any thread and not
  /// throw. Null: only what emulator::encode is given.
  std::function<std::optional<policies::OpClassSet>(std::string_view)> classify{};
};

/// The emulator with a fault model of one's own; see Backend. Each backend is a device of its own.
[[nodiscard]] std::unique_ptr<Backend> make_emulator_backend(EmulatorOptions options);

/// With the fault model that the config names, and the op table's classes. Throws
/// policies::FaultModelError and policies::OpTableError.
[[nodiscard]] std::unique_ptr<Backend> make_emulator_backend(const policies::Config& config);

/// What a task does on its emulated stream. All of these are for the thread of a running task of an
/// executor whose backend is the emulator; elsewhere they throw std::logic_error, unless they say
/// otherwise.
///
///     executor.submit({.op_class = OpClass::kGraph}, [&] {
///       emulator::encode(OpClass::kGraph, "my_layer", bytes_of(y), [&] { y = layer(x); });
///       emulator::synchronize();  // Not needed when the result is looked at after the task.
///       return y;
///     });
namespace emulator {

/// Encodes one operation on the task's stream. The kernel runs later, on a thread of the device, in
/// order; what it uses must live until then. `output` is what a corrupting fault damages.
void encode(policies::OpClassSet classes, std::string_view label, std::span<std::byte> output,
            std::function<void()> kernel);
inline void encode(policies::OpClassSet classes, std::string_view label,
                   std::function<void()> kernel) {
  encode(classes, label, {}, std::move(kernel));
}

/// Waits until everything that was encoded on the task's stream has been executed. Rethrows what a
/// kernel threw.
void synchronize();

/// The stream that is current on this thread; null outside a task.
[[nodiscard]] metal::Stream* current_stream() noexcept;

/// While one lives, libtorch's operators on this thread are work of the host, and not encoded. May
/// be made on any thread. Confined to it.
class HostWork {
 public:
  HostWork() noexcept;
  ~HostWork();
  HostWork(const HostWork&) = delete;
  HostWork& operator=(const HostWork&) = delete;
};

}  // namespace emulator

}  // namespace streamgate::executor

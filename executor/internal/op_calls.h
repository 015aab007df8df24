// SPDX-License-Identifier: Apache-2.0
//
// Libtorch's calls of operators, told to whoever listens on the thread that makes them. Its users
// see neither libtorch nor each other: the emulator encodes what it hears, a learning run notes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace at {
struct RecordFunction;
}

namespace streamgate::executor {

/// One call of an operator. Valid while a listener is being told of it.
class OpCall {
 public:
  explicit OpCall(const at::RecordFunction& function) noexcept : function_(function) {}

  /// "aten::add".
  [[nodiscard]] std::string_view name() const noexcept;
  /// "aten::add.Tensor".
  [[nodiscard]] std::string full_name() const;
  /// A view, or what may turn out as one (reshape, contiguous, to): its result may share the memory
  /// of its input; where it copies after all, it calls an operator that is told of for itself.
  [[nodiscard]] bool is_view() const;
  /// Does nothing but call other operators, on every device.
  [[nodiscard]] bool is_made_of_others() const;
  /// The memory of the first result that is floating-point numbers on the CPU; of a call that has
  /// ended.
  [[nodiscard]] std::span<std::byte> floating_point_memory() const;

 private:
  const at::RecordFunction& function_;
};

/// Is told of the outermost operators that its thread calls: not of those inside one, unless it
/// said of that one that it looks through it. Confined to its thread.
class OpListener {
 public:
  enum class Takes : std::uint8_t { kIt, kWhatItCalls };

  /// An operator begins.
  [[nodiscard]] virtual Takes begins(const OpCall& call) noexcept = 0;
  /// One that it took has ended, perhaps by an exception.
  virtual void ended(const OpCall& call) noexcept = 0;

  /// Where the listener stands; belongs to op_calls.cc.
  struct Place {
    OpListener* next = nullptr;
    unsigned depth = 0;           ///< Operators that are running, the outermost one it took.
    unsigned looked_through = 0;  ///< And those around that one.
  } place;

 protected:
  ~OpListener() = default;
};

/// Tells the listener of this thread's calls from now on. It must live until it stops, or for the
/// rest of the thread. Costs each call on this thread a look while there is a listener.
void start_listening(OpListener& listener);
/// REQUIRES: it listens on this thread.
void stop_listening(OpListener& listener) noexcept;

}  // namespace streamgate::executor

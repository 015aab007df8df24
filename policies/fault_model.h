// SPDX-License-Identifier: Apache-2.0
//
// How the emulated device fails: from which width on each op class is unsafe, and what happens
// then. Plain values, and the reading of the TOML file; what a fault does is the emulator's.
#pragma once

#include <streamgate/policies/op_class.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::policies {

/// How Metal was seen to fail past its safe width; never by an exception.
enum class Fault : std::uint8_t {
  kSegv,    ///< SIGSEGV.
  kAbort,   ///< SIGABRT, with one of Metal's assertion texts.
  kHang,    ///< The encode never returns.
  kCorrupt  ///< The result is silently wrong.
};

/// "segv", "abort", "hang" or "corrupt": the word in the file.
[[nodiscard]] std::string_view to_string(Fault fault) noexcept;

/// When a fault may strike.
struct FaultRule {
  Fault fault = Fault::kAbort;
  double probability = 1.0;  ///< Per encode under unsafe conditions; above 0, at most 1.
  std::uint64_t after = 0;   ///< Encodes in this process before the fault can strike.

  bool operator==(const FaultRule&) const = default;
};

/// One class. Without safe_threads any width is safe, and `rule` means nothing.
struct ClassFaults {
  std::optional<std::size_t> safe_threads{};  ///< Concurrent encoders that are safe; at least 1.
  FaultRule rule{};

  bool operator==(const ClassFaults&) const = default;
};

/// Two classes that must not encode at the same time.
struct IncompatibleFault {
  OpClass a = OpClass::kRaw;
  OpClass b = OpClass::kRaw;
  FaultRule rule{};

  bool operator==(const IncompatibleFault&) const = default;
};

/// A whole fault model. The default is a device that never fails.
struct FaultModel {
  std::array<ClassFaults, kOpClasses> classes{};  ///< By index_of(OpClass).
  std::vector<IncompatibleFault> incompatible{};
  struct Device {
    std::size_t streams = 32;
    std::chrono::microseconds encode{20};    ///< How long one encode takes the calling thread.
    std::chrono::microseconds execute{200};  ///< How long the device takes for one command buffer.
    std::size_t parallel = 4;                ///< Command buffers that it executes at once.

    bool operator==(const Device&) const = default;
  } device;

  bool operator==(const FaultModel&) const = default;
};

/// A fault model that cannot be used. what() has one line for each thing that is wrong; each names
/// file, line, key and what is allowed.
class FaultModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a fault model. Throws FaultModelError. Blocks while it reads the file.
[[nodiscard]] FaultModel load_fault_model(const std::filesystem::path& file);

/// The same for text; `source` stands for the file's name in errors.
[[nodiscard]] FaultModel parse_fault_model(std::string_view toml, std::string_view source);

/// As TOML. ENSURES: parse_fault_model(print_fault_model(m)) equals m.
[[nodiscard]] std::string print_fault_model(const FaultModel& model);

}  // namespace streamgate::policies

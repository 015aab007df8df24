// SPDX-License-Identifier: Apache-2.0
//
// What `streamgate doctor` knows: facts, and what is wrong. Plain values; render.h says how they
// are shown, and docs/doctor.md documents every field of the JSON that is made of them.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/policies/config.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::tools {

/// The libtorch that is loaded, not the one of the headers.
struct LibtorchFacts {
  std::string version{};
  std::string header_version{};
  std::string git_hash{};  ///< Empty: it is not said.
  std::filesystem::path path{};
  std::vector<std::filesystem::path> other_paths{};  ///< A second one on the search path.
};

enum class BlasKind : std::uint8_t {
  kReference,
  kOpenBlas,
  kMkl,
  kBlis,
  kAtlas,
  kAccelerate,
  kUnknown
};
enum class BlasThreading : std::uint8_t { kUnknown, kSerial, kPthread, kOpenMp };

/// The library that does libtorch's matrix products.
struct BlasFacts {
  BlasKind kind = BlasKind::kUnknown;
  BlasThreading threading = BlasThreading::kUnknown;
  /// Threads that it uses for one product, whatever libtorch says; only where it keeps some.
  std::optional<std::size_t> own_threads{};
  std::filesystem::path library{};  ///< Links resolved; libtorch's own where it is built in.
};

struct DeviceFacts {
  executor::Provenance provenance{};
  std::string stream_tier{};
};

struct MachineFacts {
  std::size_t cores = 0;
  std::size_t usable_cores = 0;             ///< By the affinity of this process.
  std::optional<double> cpu_quota_cores{};  ///< By its control groups.
};

/// What there is for worker processes.
struct WorkerFacts {
  std::string error{};              ///< Why there can be none; empty: there can.
  std::size_t available_bytes = 0;  ///< Of memory that could be shared.
  std::size_t max_descriptors = 0;  ///< Of this process.
  /// Whether NVIDIA's multi-process daemon runs, by which processes use one device side by side.
  bool cuda_daemon = false;
};

/// A tiny linear that was really run.
struct OperationFacts {
  double per_second = 0;
  std::string error{};  ///< Empty: it ran, and the result was right.
};

struct ConfigFacts {
  std::optional<std::filesystem::path> file{};  ///< None: the defaults.
  std::vector<std::string> errors{};            ///< One for each thing that is wrong with it.
};

/// Measured limits: what the executor says of them, or why they cannot be used.
struct LimitsFacts {
  executor::Snapshot::Limits used{};
  std::vector<std::string> errors{};  ///< One for each thing that is wrong with the file.
};

struct Report {
  std::string version{};
  std::vector<std::string> backends{};
  LibtorchFacts libtorch{};
  BlasFacts blas{};
  std::vector<std::filesystem::path> openmp_runtimes{};
  DeviceFacts device{};
  MachineFacts machine{};
  WorkerFacts workers{};
  OperationFacts operation{};
  ConfigFacts config{};
  LimitsFacts limits{};
  std::vector<std::string> op_table_errors{};  ///< One for each thing that is wrong with the file.
  /// As the executor resolved it; none when the config or the executor cannot be used.
  std::optional<policies::Config> effective{};
  std::string executor_error{};  ///< Why there is no executor though the config is fine.
};

enum class Severity : std::uint8_t {
  kWarning,  ///< Works, but badly, or not as one may think.
  kError     ///< Cannot be used.
};

struct Finding {
  Severity severity = Severity::kWarning;
  std::string_view id{};  ///< Stable, for programs: "reference_blas".
  std::string what{};
  std::string remedy{};
};

[[nodiscard]] std::string_view to_string(BlasKind kind) noexcept;
[[nodiscard]] std::string_view to_string(BlasThreading threading) noexcept;
[[nodiscard]] std::string_view to_string(Severity severity) noexcept;

}  // namespace streamgate::tools

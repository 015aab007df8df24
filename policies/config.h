// SPDX-License-Identifier: Apache-2.0
//
// The configuration of an executor and its metrics: plain values, the table that documents every
// key, and the reading and printing of the one TOML file. It decides what is allowed, not what is
// done with it.
#pragma once

#include <streamgate/policies/limit_policy.h>
#include <streamgate/policies/op_class.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::policies {

/// What a full admission queue does with one more task.
enum class WhenFull : std::uint8_t {
  kReject,     ///< The new task is rejected at once.
  kShedLowest  ///< A queued task of lower priority is rejected in its place, if there is one.
};

/// Where the page and the JSON that show an executor's state are served, beside its metrics.
enum class ShowStatus : std::uint8_t {
  kLoopback,  ///< Where metrics.address is one that only this machine reaches.
  kAlways,
  kNever
};

/// One class's gate. `0` means "the executor decides": see the table of keys.
struct GateConfig {
  std::string policy = "knee";
  std::size_t limit = 0;
  std::size_t ceiling = 0;
  bool shadow = false;  ///< The policy computes, and its limit is not put into force.
  std::chrono::microseconds latency_target{0};  ///< 0: none.
  std::chrono::microseconds queue_delay{0};     ///< 0: none.

  [[nodiscard]] LimitMode mode() const noexcept {
    return shadow ? LimitMode::kShadow : LimitMode::kEnforced;
  }
  /// Whether a policy that was made from the one will do for the other.
  [[nodiscard]] bool same_policy(const GateConfig& other) const noexcept {
    GateConfig as_wide = other;
    as_wide.ceiling = ceiling;
    return *this == as_wide;
  }
  bool operator==(const GateConfig&) const = default;
};

/// Everything that can be configured, with the defaults of the table of keys. A plain aggregate.
struct Config {
  struct Executor {
    std::string backend = "cpu";
    std::size_t threads = 0;              ///< Workers of the arena; 0: one for each core.
    std::size_t intra_op_threads = 0;     ///< Of libtorch for each task; 0: cores / threads.
    bool adapt_intra_op = false;          ///< Lets the limit policy of raw choose them, live.
    bool allow_oversubscription = false;  ///< Lets threads x intra-op threads exceed the cores.
    std::size_t streams = 32;
    std::chrono::milliseconds drain_timeout{30'000};  ///< For the destructor.

    bool operator==(const Executor&) const = default;
  } executor;
  struct Queue {
    std::size_t max_tasks = 100'000;
    std::size_t max_bytes = std::size_t{1} << 30;
    WhenFull when_full = WhenFull::kReject;

    bool operator==(const Queue&) const = default;
  } queue;
  /// For tasks that say, or of which was learned, what device memory they need.
  struct Memory {
    std::size_t budget_bytes = 0;  ///< 0: all that the device has.
    std::size_t headroom_bytes = std::size_t{256} << 20;
    bool learn_calls = false;

    bool operator==(const Memory&) const = default;
  } memory;
  std::array<GateConfig, kOpClasses> gates;  ///< By index_of(OpClass).
  struct Limits {
    std::string file;  ///< That `streamgate probe` wrote; empty: none.

    bool operator==(const Limits&) const = default;
  } limits;
  struct Emulator {
    std::string fault_model;       ///< Shipped name or path; empty: a device that never fails.
    std::string libtorch = "2.9";  ///< The version whose op classes it has.

    bool operator==(const Emulator&) const = default;
  } emulator;
  struct Mps {
    bool force_graph_path = false;

    bool operator==(const Mps&) const = default;
  } mps;
  struct Cuda {
    std::size_t device = 0;
    /// What libtorch's threads may do beside a capture; never global, which forbids raw work.
    std::string capture_mode = "thread_local";
    std::size_t graph_cache_bytes = std::size_t{4} << 30;  ///< Of calls' graphs; 0: none are made.

    bool operator==(const Cuda&) const = default;
  } cuda;
  struct OpTable {
    std::string file;  ///< On top of the shipped table; empty: none.

    bool operator==(const OpTable&) const = default;
  } op_table;
  /// Calls in worker processes, beside those that run here.
  struct Overflow {
    std::string policy = "cheapest";
    std::size_t workers = 0;      ///< At most; 0: none, and no overflow.
    std::size_t min_workers = 1;  ///< Kept ready, at most `workers`.
    std::string worker_command;   ///< Empty: this program, if it can be its own worker.
    std::size_t worker_threads = 1;
    std::size_t arena_bytes = std::size_t{64} << 20;  ///< Of each worker, each way.
    std::chrono::milliseconds run_timeout{0};
    std::chrono::milliseconds hang_timeout{60'000};
    std::chrono::milliseconds idle_timeout{60'000};
    std::size_t attempts = 3;
    std::size_t quarantine_after = 2;
    std::size_t recycle_calls = 0;
    std::size_t recycle_growth_bytes = std::size_t{1} << 30;

    bool operator==(const Overflow&) const = default;
  } overflow;
  struct Metrics {
    bool enabled = true;
    std::string address = "127.0.0.1";
    std::uint16_t port = 0;  ///< 0: any free port, reported.
    ShowStatus status = ShowStatus::kLoopback;

    bool operator==(const Metrics&) const = default;
  } metrics;

  bool operator==(const Config&) const = default;
};

/// When a change of a key takes effect.
enum class ReloadClass : std::uint8_t {
  kLive,      ///< At once, for waiting and running work too.
  kNewTasks,  ///< For tasks submitted from then on.
  kRestart    ///< When the executor is built again.
};

/// "live", "new tasks" or "restart".
[[nodiscard]] std::string_view to_string(ReloadClass reload_class) noexcept;

/// "reject" or "shed_lowest": the word in the config.
[[nodiscard]] std::string_view to_string(WhenFull when_full) noexcept;

/// "loopback", "always" or "never": the word in the config.
[[nodiscard]] std::string_view to_string(ShowStatus status) noexcept;

/// One row of the table of keys: the single source of `--print-config`, the docs and the checks.
struct ConfigKey {
  std::string_view name;           ///< Dotted, as "queue.max_tasks".
  std::string_view default_value;  ///< As TOML.
  std::string_view allowed;        ///< The range or the words, for people.
  std::string_view unit;           ///< "tasks", "bytes", "ms"; empty when the value has none.
  ReloadClass reload_class;
  std::string_view help;  ///< One sentence.
};

/// Every key, in the order of the file. The table lives as long as the program.
[[nodiscard]] const std::vector<ConfigKey>& config_keys();

/// A config that cannot be used. what() has one line for each thing that is wrong, in the order of
/// the file's lines; each names file, line, key and what is allowed.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a config. Throws ConfigError for a file that cannot be read, is not TOML, is larger than
/// 64 KiB or has more than 2,000 dots (toml++ recurses on them), has an unknown key, a value of the
/// wrong type or outside its range, or a limit above its gate's ceiling. An empty file is the
/// default config. Blocks while it reads the file.
[[nodiscard]] Config load_config(const std::filesystem::path& file);

/// The same for text; `source` stands for the file's name in errors. What follows a section's
/// header that is not TOML, or the 20th line that is not, is not looked at.
[[nodiscard]] Config parse_config(std::string_view toml, std::string_view source);

/// The whole effective config as TOML, each key with its help, range, unit, default and reload
/// class above it. ENSURES: parse_config(print_config(c)) equals c, where c has only values that
/// parse_config allows.
[[nodiscard]] std::string print_config(const Config& config);

/// The names of the keys in which the two differ, in the order of config_keys(); they live as long
/// as the program.
[[nodiscard]] std::vector<std::string_view> changed_keys(const Config& a, const Config& b);

}  // namespace streamgate::policies

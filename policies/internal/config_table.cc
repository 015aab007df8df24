// SPDX-License-Identifier: Apache-2.0
//
// The table of config keys. A new key is a field of Config and one row here; its default is the
// field's own, and everything that is said, read, checked or printed of it follows from the row.
#include <streamgate/policies/internal/config_table.h>
#include <streamgate/policies/internal/op_table_file.h>
#include <streamgate/policies/limit_policy.h>
#include <streamgate/policies/op_class.h>
#include <streamgate/policies/overflow_policy.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace streamgate::policies::internal {
namespace {

constexpr ReloadClass kLive = ReloadClass::kLive;
constexpr ReloadClass kRestart = ReloadClass::kRestart;
constexpr std::int64_t kLongestTarget = 3'600'000'000;  ///< An hour.

constexpr std::array<WhenFull, 2> kAllWhenFull = {WhenFull::kReject, WhenFull::kShedLowest};
constexpr std::array<ShowStatus, 3> kAllShowStatus = {ShowStatus::kLoopback, ShowStatus::kAlways,
                                                      ShowStatus::kNever};

Allowed policy_name() { return words({kLimitPolicyNames.begin(), kLimitPolicyNames.end()}); }

Allowed overflow_policy_name() {
  return words({kOverflowPolicyNames.begin(), kOverflowPolicyNames.end()});
}

template <typename Words>
Allowed words_of(const Words& all) {
  std::vector<std::string_view> names;
  for (const auto word : all) names.push_back(to_string(word));
  return words(std::move(names));
}

template <typename Words>
auto word_in(const Words& all, const std::string& text) {
  return *std::find_if(all.begin(), all.end(), [&](auto word) { return to_string(word) == text; });
}

Allowed path() { return text_up_to(4'096); }

Allowed address() {
  return {.like = std::string(),
          .type = "a string",
          .wrong = "is not an address",
          .text = "an IPv4 or IPv6 literal, \"localhost\"",
          .holds = [](const Value& value) {
            const std::string& text = std::get<std::string>(value);
            // inet_pton stops at a NUL, which a TOML string may hold.
            if (text.find('\0') != std::string::npos) return false;
            in6_addr parsed;  // Large enough for both families.
            return text == "localhost" || inet_pton(AF_INET, text.c_str(), &parsed) == 1 ||
                   inet_pton(AF_INET6, text.c_str(), &parsed) == 1;
          }};
}

template <typename Field>
Value to_value(const Field& field) {
  if constexpr (std::is_same_v<Field, bool> || std::is_same_v<Field, std::string>) {
    return field;
  } else if constexpr (std::is_enum_v<Field>) {
    return std::string(to_string(field));
  } else if constexpr (std::is_same_v<Field, std::chrono::milliseconds> ||
                       std::is_same_v<Field, std::chrono::microseconds>) {
    return std::int64_t{field.count()};
  } else {
    return static_cast<std::int64_t>(field);
  }
}

template <typename Field>
Field from_value(const Value& value) {
  if constexpr (std::is_same_v<Field, bool> || std::is_same_v<Field, std::string>) {
    return std::get<Field>(value);
  } else if constexpr (std::is_same_v<Field, WhenFull>) {
    return word_in(kAllWhenFull, std::get<std::string>(value));
  } else if constexpr (std::is_same_v<Field, ShowStatus>) {
    return word_in(kAllShowStatus, std::get<std::string>(value));
  } else {
    return static_cast<Field>(std::get<std::int64_t>(value));
  }
}

/// A row for the field that `access` returns a reference to.
template <typename Access>
ConfigRow row(std::string name, Allowed allowed, std::string_view unit, ReloadClass reload_class,
              Access access, std::string_view help) {
  using Field = std::remove_reference_t<decltype(access(std::declval<Config&>()))>;
  const Config defaults;
  const Value default_value = to_value(access(defaults));
  assert(default_value.index() == allowed.like.index() && allowed.holds(default_value));
  return {.name = std::move(name),
          .default_value = to_toml(default_value),
          .allowed = std::move(allowed),
          .unit = unit,
          .reload_class = reload_class,
          .help = help,
          .get = [access](const Config& config) { return to_value(access(config)); },
          .set = [access](Config& config,
                          const Value& value) { access(config) = from_value<Field>(value); }};
}

void add_overflow_rows(std::vector<ConfigRow>& rows) {
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 40;
  constexpr std::int64_t kDay = 86'400'000;
  const auto add = [&](std::string name, Allowed allowed, std::string_view unit, ReloadClass reload,
                       auto access, std::string_view help) {
    rows.push_back(row("overflow." + name, std::move(allowed), unit, reload, access, help));
  };
  add(
      "policy", overflow_policy_name(), "", kLive,
      [](auto& c) -> auto& { return c.overflow.policy; },
      "When a call that finds its gate full goes to a worker process.");
  add(
      "workers", integer(0, 1023), "processes", kRestart,
      [](auto& c) -> auto& { return c.overflow.workers; },
      "Worker processes at most; 0 is none, and no overflow.");
  add(
      "min_workers", integer(0, 1023), "processes", kRestart,
      [](auto& c) -> auto& { return c.overflow.min_workers; },
      "Worker processes that are kept ready with nothing to do, at most overflow.workers.");
  add(
      "worker_command", path(), "", kRestart,
      [](auto& c) -> auto& { return c.overflow.worker_command; },
      "The absolute path of a worker's program; empty is this one, which calls serve_as_worker.");
  add(
      "worker_threads", integer(0, 1024), "threads", kRestart,
      [](auto& c) -> auto& { return c.overflow.worker_threads; },
      "Threads of libtorch within one call in a worker; 0 is executor.intra_op_threads.");
  add(
      "arena_bytes", integer(1 << 20, kMostBytes), "bytes", kRestart,
      [](auto& c) -> auto& { return c.overflow.arena_bytes; },
      "Shared memory that each worker reserves for arguments, and as much again for results.");
  add(
      "run_timeout_ms", integer(0, kDay), "ms", kRestart,
      [](auto& c) -> auto& { return c.overflow.run_timeout; },
      "How long a call may run in a worker before that is killed; 0 is any time.");
  add(
      "hang_timeout_ms", integer(100, kDay), "ms", kRestart,
      [](auto& c) -> auto& { return c.overflow.hang_timeout; },
      "How long a worker may show no progress before it is killed.");
  add(
      "idle_timeout_ms", integer(0, kDay), "ms", kRestart,
      [](auto& c) -> auto& { return c.overflow.idle_timeout; },
      "How long a worker beyond overflow.min_workers may have nothing to do before it is ended.");
  add(
      "attempts", integer(1, 100), "workers", kLive,
      [](auto& c) -> auto& { return c.overflow.attempts; },
      "Workers that may begin a call, one after the other's death, where repeating does no harm.");
  add(
      "quarantine_after", integer(0, 1'000), "workers", kLive,
      [](auto& c) -> auto& { return c.overflow.quarantine_after; },
      "Workers that a call may kill before calls like it are refused; 0 is any number.");
  add(
      "recycle_calls", integer(0, 1'000'000'000), "calls", kRestart,
      [](auto& c) -> auto& { return c.overflow.recycle_calls; },
      "Calls after which a worker is replaced; 0 is any number.");
  add(
      "recycle_growth_bytes", integer(0, kMostBytes), "bytes", kRestart,
      [](auto& c) -> auto& { return c.overflow.recycle_growth_bytes; },
      "Growth of a worker's own memory after which it is replaced; 0 is any.");
}

std::vector<ConfigRow> make_rows() {
  std::vector<ConfigRow> rows = {
      row(
          "executor.backend", words({"cpu", "cuda", "mps", "emulator", "inline"}), "", kRestart,
          [](auto& c) -> auto& { return c.executor.backend; },
          "The device that tasks run on; inline needs no libtorch and runs them on the workers."),
      row(
          "executor.threads", integer(0, 1024), "threads", kRestart,
          [](auto& c) -> auto& { return c.executor.threads; },
          "Worker threads of the executor; 0 is one for each core."),
      row(
          "executor.intra_op_threads", integer(0, 1024), "threads", kRestart,
          [](auto& c) -> auto& { return c.executor.intra_op_threads; },
          "Threads of libtorch within one task; 0 is the cores divided by executor.threads."),
      row(
          "executor.adapt_intra_op", boolean(), "", kRestart,
          [](auto& c) -> auto& { return c.executor.adapt_intra_op; },
          "Whether knee, as the policy of raw on the CPU, also chooses the intra-op threads, by "
          "throughput."),
      row(
          "executor.allow_oversubscription", boolean(), "", kRestart,
          [](auto& c) -> auto& { return c.executor.allow_oversubscription; },
          "Whether threads times intra_op_threads may exceed the cores."),
      row(
          "executor.streams", integer(1, 64), "streams", kRestart,
          [](auto& c) -> auto& { return c.executor.streams; },
          "Device queues; a task has one for itself until the device is done with it."),
      row(
          "executor.drain_timeout_ms", integer(0, 86'400'000), "ms", kLive,
          [](auto& c) -> auto& { return c.executor.drain_timeout; },
          "How long the executor's destructor waits for the tasks it has taken."),
      row(
          "queue.max_tasks", integer(1, 1'000'000'000), "tasks", kLive,
          [](auto& c) -> auto& { return c.queue.max_tasks; }, "Tasks that may wait for admission."),
      row(
          "queue.max_bytes", integer(1, std::int64_t{1} << 50), "bytes", kLive,
          [](auto& c) -> auto& { return c.queue.max_bytes; },
          "Bytes that the waiting tasks may declare together."),
      row(
          "queue.when_full", words_of(kAllWhenFull), "", kLive,
          [](auto& c) -> auto& { return c.queue.when_full; },
          "Whether a full queue rejects the new task, or a waiting one of lower priority."),
      row(
          "memory.budget_bytes", integer(0, std::int64_t{1} << 50), "bytes", kLive,
          [](auto& c) -> auto& { return c.memory.budget_bytes; },
          "Device memory that running tasks may need together; 0 is all that the device has."),
      row(
          "memory.headroom_bytes", integer(0, std::int64_t{1} << 50), "bytes", kLive,
          [](auto& c) -> auto& { return c.memory.headroom_bytes; },
          "Free device memory that is left to others: no task that needs memory starts into it."),
      row(
          "memory.learn_calls", boolean(), "", kRestart,
          [](auto& c) -> auto& { return c.memory.learn_calls; },
          "Whether calls need the memory that earlier calls of their operation were seen to hold."),
  };
  for (const OpClass op_class : kAllOpClasses) {
    const std::size_t i = index_of(op_class);
    const std::string section = "gate." + std::string(to_string(op_class));
    const std::int64_t widest = op_class == OpClass::kExclusive ? 1 : 1023;
    rows.push_back(row(
        section + ".policy", policy_name(), "",
        kLive, [i](auto& c) -> auto& { return c.gates[i].policy; }, "What moves the limit."));
    rows.push_back(row(
        section + ".limit", integer(0, widest), "tasks",
        kLive, [i](auto& c) -> auto& { return c.gates[i].limit; },
        "Tasks of this class at once, to start with, at most the ceiling; 0 lets the executor "
        "decide."));
    rows.push_back(row(
        section + ".ceiling", integer(0, widest), "tasks",
        kRestart, [i](auto& c) -> auto& { return c.gates[i].ceiling; },
        "Tasks of this class at once that nothing exceeds; 0 lets the executor decide."));
    rows.push_back(row(
        section + ".shadow", boolean(), "",
        kLive, [i](auto& c) -> auto& { return c.gates[i].shadow; },
        "Whether the policy only watches: what it asks for is exported, and the limit stays."));
    rows.push_back(row(
        section + ".latency_target_us", integer(0, kLongestTarget), "us",
        kLive, [i](auto& c) -> auto& { return c.gates[i].latency_target; },
        "A brake of knee: the limit is lowered while tasks run longer than this on average; 0 is "
        "none."));
    rows.push_back(row(
        section + ".queue_delay_us", integer(0, kLongestTarget), "us",
        kLive, [i](auto& c) -> auto& { return c.gates[i].queue_delay; },
        "A brake of knee: the limit is not raised while tasks wait less than this on average; 0 is "
        "none."));
  }
  rows.push_back(row(
      "limits.file", path(), "", kRestart, [](auto& c) -> auto& { return c.limits.file; },
      "Limits that `streamgate probe` wrote here; ceilings above may only lower its; empty is "
      "none."));
  rows.push_back(row(
      "emulator.fault_model", path(), "", kRestart,
      [](auto& c) -> auto& { return c.emulator.fault_model; },
      "How the emulator fails: a shipped name or a path; empty is a device that never does."));
  rows.push_back(row(
      "emulator.libtorch", torch_version(), "", kRestart,
      [](auto& c) -> auto& { return c.emulator.libtorch; },
      "The version of libtorch whose op classes on MPS the emulator has."));
  rows.push_back(row(
      "mps.force_graph_path", boolean(), "", kRestart,
      [](auto& c) -> auto& { return c.mps.force_graph_path; },
      "Whether linear encodes a graph on MPS (MPS_FORCE_GRAPH_PATH) and is of class graph."));
  rows.push_back(row(
      "cuda.device", integer(0, 63), "", kRestart, [](auto& c) -> auto& { return c.cuda.device; },
      "The CUDA device of this executor, as libtorch numbers them."));
  rows.push_back(row(
      "cuda.capture_mode", words({"thread_local", "relaxed"}), "", kRestart,
      [](auto& c) -> auto& { return c.cuda.capture_mode; },
      "The mode in which CUDA graphs are captured beside raw work; global is not safe there."));
  rows.push_back(row(
      "cuda.graph_cache_bytes", integer(0, std::int64_t{1} << 40), "bytes", kRestart,
      [](auto& c) -> auto& { return c.cuda.graph_cache_bytes; },
      "Memory of the device that the graphs of calls may take; 0 makes none."));
  rows.push_back(row(
      "op_table.file", path(), "", kRestart, [](auto& c) -> auto& { return c.op_table.file; },
      "Op classes that override or extend the shipped op table; empty is none."));
  add_overflow_rows(rows);
  rows.push_back(row(
      "metrics.enabled", boolean(), "", kRestart,
      [](auto& c) -> auto& { return c.metrics.enabled; }, "Whether metrics are served over HTTP."));
  rows.push_back(row(
      "metrics.address", address(), "", kRestart,
      [](auto& c) -> auto& { return c.metrics.address; },
      "The address that metrics are served on."));
  rows.push_back(row(
      "metrics.port", integer(0, 65'535), "", kRestart,
      [](auto& c) -> auto& { return c.metrics.port; },
      "The TCP port that metrics are served on; 0 is any free one, reported."));
  rows.push_back(row(
      "metrics.status", words_of(kAllShowStatus), "", kRestart,
      [](auto& c) -> auto& { return c.metrics.status; },
      "Whether the executor's status is served beside them, as a page at / and as JSON."));
  return rows;
}

}  // namespace

const std::vector<ConfigRow>& config_rows() {
  // Never destroyed: a static destructor may still print a config.
  static const auto& rows = *new std::vector<ConfigRow>(make_rows());
  return rows;
}

}  // namespace streamgate::policies::internal

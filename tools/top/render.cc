// SPDX-License-Identifier: Apache-2.0
#include "top/render.h"

#include <cmath>
#include <string_view>
#include <utility>

#include "format.h"

namespace streamgate::tools {
namespace {

using Json = nlohmann::ordered_json;

/// Null where there is nothing of that name.
const Json& at(const Json& json, const char* key) {
  static const Json kNone;
  if (!json.is_object()) return kNone;
  const auto found = json.find(key);
  return found == json.end() ? kNone : *found;
}

template <typename... Keys>
const Json& at(const Json& json, const char* key, Keys... more) {
  return at(at(json, key), more...);
}

/// Without what a terminal would take as a command: C0, DEL and C1.
std::string text_of(const Json& json) {
  if (!json.is_string()) return "?";
  std::string text = json.get<std::string>();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) text[i] = '?';
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      text[i] = text[i + 1] = '?';
    }
  }
  return text;
}

/// "12,345"; with a digit behind the point below 100 where the number is not whole.
std::string number_of(const Json& json) {
  if (!json.is_number()) return "?";
  const double value = json.get<double>();
  const bool whole = value >= 100 || value == std::floor(value);
  std::string text = format(whole ? "%.0f" : "%.1f", value);
  const std::size_t digits = text.find('.') == text.npos ? text.size() : text.find('.');
  const std::size_t first = text.starts_with('-') ? 1 : 0;
  for (std::size_t i = digits; i > first + 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

std::string seconds_of(const Json& json) {
  if (!json.is_number()) return "-";
  const double value = json.get<double>();
  if (value < 1e-3) return format("%.3g us", value * 1e6);
  if (value < 1) return format("%.3g ms", value * 1e3);
  return value < 120 ? format("%.3g s", value) : format("%.0f min", value / 60);
}

std::string bytes_of(const Json& json) {
  if (!json.is_number()) return "?";
  double value = json.get<double>();
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return format("%.4g %s", value, kUnits[unit]);
}

/// The last of a column of the history.
const Json& latest(const Json& column) {
  static const Json kNone;
  return column.is_array() && !column.empty() ? column.back() : kNone;
}

std::string percent(const Json& gain) {
  if (!gain.is_number()) return "?";
  return format("%+.0f %%", (std::exp(gain.get<double>()) - 1) * 100);
}

std::string knee_of(const Json& gate) {
  const Json& knee = at(gate, "knee");
  if (!knee.is_object()) return "-";
  return number_of(at(knee, "limit")) + " (" + number_of(at(knee, "low")) + " to " +
         number_of(at(knee, "high")) + ")";
}

/// A line of a table: the first cell to the left, the others to the right of their columns.
std::string gate_line(const std::string& name, const std::string& in_use, const std::string& limit,
                      const std::string& ceiling, const std::string& rate, const std::string& knee,
                      const std::string& policy) {
  return format("%-12.40s %9.20s %8.20s %9.20s %12.20s   %-16.30s %.60s", name.c_str(),
                in_use.c_str(), limit.c_str(), ceiling.c_str(), rate.c_str(), knee.c_str(),
                policy.c_str());
}

class Lines {
 public:
  explicit Lines(std::size_t width) : width_(width) {}

  void add(std::string line) {
    // By bytes but for the rest of a character: wide enough, and never half of one.
    if (line.size() > width_) {
      std::size_t end = width_;
      while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0U) == 0x80U) --end;
      line.resize(end);
    }
    text_ += line + '\n';
  }

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  const std::size_t width_;
  std::string text_;
};

void add_gates(Lines& lines, const Json& executor) {
  lines.add(gate_line("class", "in flight", "limit", "ceiling", "ok a second", "knee", "policy"));
  const Json& rates = at(executor, "history", "gates");
  std::size_t i = 0;
  for (const Json& gate : at(executor, "gates")) {
    const Json& rate =
        rates.is_array() && i < rates.size() ? latest(at(rates[i], "ok_per_s")) : Json();
    ++i;
    std::string policy = text_of(at(gate, "policy"));
    if (at(gate, "enforced") == false) {
      policy += ", only watching; asks for " + number_of(at(gate, "wanted"));
    }
    lines.add(gate_line(text_of(at(gate, "class")), number_of(at(gate, "in_use")),
                        number_of(at(gate, "limit")), number_of(at(gate, "ceiling")),
                        rate.is_number() ? number_of(rate) : "-", knee_of(gate), policy));
  }
}

void add_workers(Lines& lines, const Json& executor) {
  const Json& workers = at(executor, "workers");
  if (at(workers, "starts") == 0 && at(executor, "overflow", "policy") == "") return;
  std::string causes;
  for (const auto& [cause, count] : at(workers, "exits").items()) {
    if (count != 0)
      causes += (causes.empty() ? "; ended: " : ", ") + number_of(count) + ' ' + cause;
  }
  lines.add("workers    " + number_of(at(workers, "busy")) + " busy, " +
            number_of(at(workers, "idle")) + " idle, " + number_of(at(workers, "starting")) +
            " starting; " + number_of(at(workers, "calls_queued")) + " calls wait" + causes);
  const Json& measured = at(executor, "overflow", "measured");
  lines.add("overflow   " + text_of(at(executor, "overflow", "policy")) + "; gain " +
            (measured.is_object() ? number_of(at(measured, "gain")) : "not measured") + "; " +
            number_of(at(executor, "overflow", "away")) + " calls away");
}

void add_decisions(Lines& lines, const Json& executor, std::size_t most) {
  const Json& decisions = at(executor, "decisions");
  if (!decisions.is_array() || decisions.empty()) return;
  lines.add("");
  lines.add("last decisions");
  std::size_t shown = 0;
  for (const Json& each : decisions) {
    if (shown++ == most) break;
    std::string gain;
    if (at(each, "gain_low") != at(each, "gain_high")) {
      gain = "  gain " + percent(at(each, "gain")) + " (" + percent(at(each, "gain_low")) + " to " +
             percent(at(each, "gain_high")) + ")";
    }
    lines.add(format("%10.20s ago  %-10.20s %5.10s -> %-5.10s %-12.20s%.80s",
                     seconds_of(at(each, "age_s")).c_str(), text_of(at(each, "class")).c_str(),
                     number_of(at(each, "from")).c_str(), number_of(at(each, "to")).c_str(),
                     text_of(at(each, "reason")).c_str(), gain.c_str()));
  }
}

void add_executor(Lines& lines, const Json& executor, std::size_t decisions) {
  const Json& provenance = at(executor, "provenance");
  lines.add(text_of(at(executor, "name")) + ": " + text_of(at(provenance, "backend")) +
            ", libtorch " + text_of(at(provenance, "libtorch")) + ", " +
            text_of(at(provenance, "device")));
  for (const Json& warning : at(executor, "warnings")) {
    lines.add("WARNING    " + text_of(at(warning, "text")));
  }
  lines.add("");
  add_gates(lines, executor);
  lines.add("");
  const Json& queue = at(executor, "queue");
  lines.add("queue      " + number_of(at(queue, "tasks")) + " of " +
            number_of(at(queue, "max_tasks")) + " tasks, " + bytes_of(at(queue, "bytes")) + " of " +
            bytes_of(at(queue, "max_bytes")));
  const Json& history = at(executor, "history");
  lines.add("a second   " + number_of(latest(at(history, "ok_per_s"))) + " ok, " +
            number_of(latest(at(history, "refused_per_s"))) + " rejected or expired, " +
            number_of(latest(at(history, "failed_per_s"))) + " failed");
  lines.add("a minute   wait " + seconds_of(at(executor, "wait_s", "p50")) + ", p99 " +
            seconds_of(at(executor, "wait_s", "p99")) + "; run " +
            seconds_of(at(executor, "run_s", "p50")) + ", p99 " +
            seconds_of(at(executor, "run_s", "p99")));
  lines.add("threads    " + number_of(at(executor, "arena", "at_work")) + " of " +
            number_of(at(executor, "arena", "threads")) + " at work; streams " +
            number_of(at(executor, "streams", "leased")) + " of " +
            number_of(at(executor, "streams", "slots")) + " leased");
  add_workers(lines, executor);
  add_decisions(lines, executor, decisions);
}

}  // namespace

std::string render_top(const Json& status, const TopView& view) {
  Lines lines(view.width);
  const Json& executors = at(status, "executors");
  if (executors.empty()) lines.add("There is no executor.");
  bool first = true;
  for (const Json& executor : executors) {
    if (!first) lines.add("");
    first = false;
    add_executor(lines, executor, view.decisions);
  }
  return lines.take();
}

bool has_warnings(const Json& status) {
  for (const Json& executor : at(status, "executors")) {
    if (!at(executor, "warnings").empty()) return true;
  }
  return false;
}

}  // namespace streamgate::tools

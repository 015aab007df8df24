// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/stage.h>

#include <charconv>
#include <limits>
#include <stdexcept>

namespace streamgate::executor::probe {
namespace {

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::uint64_t number(std::string_view text, std::string_view what, std::uint64_t least,
                     std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw std::invalid_argument("stage: " + std::string(what) + " is '" + std::string(text) +
                                "'; allowed is " + std::to_string(least) + " to " +
                                std::to_string(most));
  }
  return value;
}

Party parse_party(std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto op_class = policies::op_class_from(text.substr(0, colon));
  if (!op_class || colon == text.npos) {
    throw std::invalid_argument("stage: '" + std::string(text) +
                                "' is not CLASS:WIDTH with class raw, kernel, graph or exclusive");
  }
  return {*op_class, number(text.substr(colon + 1), "width", 1, kMaxWidth)};
}

}  // namespace

std::size_t threads_of(const Stage& stage) noexcept {
  std::size_t threads = 0;
  for (const Party& party : stage.parties) threads += party.width;
  return threads;
}

std::string to_string(const std::vector<Party>& parties) {
  std::string text;
  for (const Party& party : parties) {
    if (!text.empty()) text += '+';
    text += policies::to_string(party.op_class);
    text += ':' + std::to_string(party.width);
  }
  return text;
}

std::string to_string(const Stage& stage) {
  return to_string(stage.parties) + (stage.mode == Mode::kHammer ? "/hammer" : "/pace") +
         "/operations=" + std::to_string(stage.operations) +
         "/at-most-ms=" + std::to_string(stage.at_most.count()) +
         "/batch=" + std::to_string(stage.batch) + "/warm-up=" + std::to_string(stage.warm_up);
}

Stage parse_stage(std::string_view text) {
  constexpr std::uint64_t kAny = std::numeric_limits<std::uint32_t>::max();
  const std::vector<std::string_view> parts = split(text, '/');
  Stage stage;
  for (const std::string_view party : split(parts[0], '+')) {
    stage.parties.push_back(parse_party(party));
  }
  if (stage.parties.size() > 2 ||
      (stage.parties.size() == 2 && stage.parties[0].op_class == stage.parties[1].op_class)) {
    throw std::invalid_argument("stage: one party, or two of different classes");
  }
  if (parts.size() < 2 || (parts[1] != "hammer" && parts[1] != "pace")) {
    throw std::invalid_argument("stage: the mode is hammer or pace");
  }
  stage.mode = parts[1] == "hammer" ? Mode::kHammer : Mode::kPace;
  for (std::size_t i = 2; i < parts.size(); ++i) {
    const std::size_t equals = parts[i].find('=');
    const std::string_view key = parts[i].substr(0, equals);
    const std::string_view value = equals == text.npos ? "" : parts[i].substr(equals + 1);
    if (key == "operations") {
      stage.operations = number(value, key, 0, kAny);
    } else if (key == "at-most-ms") {
      stage.at_most = std::chrono::milliseconds(
          number(value, key, 1, static_cast<std::uint64_t>(kMaxStageTime.count())));
    } else if (key == "batch") {
      stage.batch = number(value, key, 1, 4096);
    } else if (key == "warm-up") {
      stage.warm_up = number(value, key, 0, kAny);
    } else {
      throw std::invalid_argument("stage: there is no key '" + std::string(key) +
                                  "'; there is operations, at-most-ms, batch and warm-up");
    }
  }
  return stage;
}

}  // namespace streamgate::executor::probe

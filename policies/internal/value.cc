// SPDX-License-Identifier: Apache-2.0
#include <streamgate/policies/internal/value.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <utility>

namespace streamgate::policies::internal {

std::string one_line(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      out += c;
    } else {
      out += "\\u00";
      out += kHex[byte / 16U];
      out += kHex[byte % 16U];
    }
  }
  return out;
}

std::string toml_string(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return '"' + one_line(out) + '"';
}

std::string to_toml(const Value& value) {
  if (const bool* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  if (const std::string* text = std::get_if<std::string>(&value)) return toml_string(*text);
  if (const std::int64_t* integer = std::get_if<std::int64_t>(&value)) {
    return std::to_string(*integer);
  }
  const double number = std::get<double>(value);
  if (std::isnan(number)) return "nan";  // to_chars writes -nan, too.
  std::array<char, 32> buffer;           // The shortest form that reads back has at most 24.
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
  static_cast<void>(error);
  std::string text(buffer.data(), end);
  // Without a dot or an exponent it would read back as an integer.
  if (text.find_first_of(".einf") == text.npos) text += ".0";
  return text;
}

Allowed boolean() {
  return {.like = false,
          .type = "a boolean",
          .wrong = "is not allowed",
          .text = "true, false",
          .holds = [](const Value&) { return true; }};
}

Allowed integer(std::int64_t min, std::int64_t max) {
  return {.like = std::int64_t{0},
          .type = "an integer",
          .wrong = "is out of range",
          .text = std::to_string(min) + ".." + std::to_string(max),
          .holds = [min, max](const Value& value) {
            const std::int64_t whole = std::get<std::int64_t>(value);
            return min <= whole && whole <= max;
          }};
}

Allowed text_up_to(std::size_t bytes) {
  return {.like = std::string(),
          .type = "a string",
          .wrong = "is too long or has a control character",
          .text = "at most " + std::to_string(bytes) + " bytes on one line",
          .holds = [bytes](const Value& value) {
            const std::string& text = std::get<std::string>(value);
            return text.size() <= bytes && one_line(text) == text;
          }};
}

Allowed words(std::vector<std::string_view> words) {
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ", ") + toml_string(word);
  return {.like = std::string(),
          .type = "a string",
          .wrong = "is not a known word",
          .text = std::move(text),
          .holds = [words = std::move(words)](const Value& value) {
            return std::find(words.begin(), words.end(), std::get<std::string>(value)) !=
                   words.end();
          }};
}

Allowed number(std::string text, std::function<bool(double)> holds) {
  return {.like = 0.0,
          .type = "a number",
          .wrong = "is out of range",
          .text = std::move(text),
          .holds = [holds = std::move(holds)](const Value& value) {
            const double real = std::get<double>(value);
            return std::isfinite(real) && holds(real);
          }};
}

}  // namespace streamgate::policies::internal

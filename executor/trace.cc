// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/trace.h>

#include <algorithm>
#include <cstddef>

namespace streamgate::executor {
namespace {

constexpr std::size_t kLength = 55;  ///< 00-(32 digits)-(16 digits)-(2 digits).

/// Of a lower-case digit; 16 for what is none.
constexpr unsigned digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  return 16;
}

template <std::size_t kBytes>
bool read_bytes(std::string_view text, std::array<std::uint8_t, kBytes>& bytes) {
  for (std::size_t i = 0; i < kBytes; ++i) {
    const unsigned high = digit(text[2 * i]);
    const unsigned low = digit(text[2 * i + 1]);
    if (high > 15 || low > 15) return false;
    bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return true;
}

template <std::size_t kBytes>
bool all_zero(const std::array<std::uint8_t, kBytes>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

template <std::size_t kBytes>
void write_bytes(const std::array<std::uint8_t, kBytes>& bytes, std::string& text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
}

}  // namespace

std::optional<TraceContext> TraceContext::parse(std::string_view text) noexcept {
  if (text.size() < kLength || text[2] != '-' || text[35] != '-' || text[52] != '-') {
    return std::nullopt;
  }
  std::array<std::uint8_t, 1> version{};
  std::array<std::uint8_t, 1> flags{};
  TraceContext context;
  if (!read_bytes(text.substr(0, 2), version) ||
      !read_bytes(text.substr(3, 32), context.trace_id) ||
      !read_bytes(text.substr(36, 16), context.parent_id) ||
      !read_bytes(text.substr(53, 2), flags)) {
    return std::nullopt;
  }
  const bool known = version[0] == 0;
  if (version[0] == 0xff || (known && text.size() != kLength) ||
      (!known && text.size() > kLength && text[kLength] != '-')) {
    return std::nullopt;
  }
  if (all_zero(context.trace_id) || all_zero(context.parent_id)) return std::nullopt;
  context.flags = flags[0];
  return context;
}

std::string TraceContext::to_string() const {
  std::string text = "00-";
  text.reserve(kLength);
  write_bytes(trace_id, text);
  text += '-';
  write_bytes(parent_id, text);
  text += '-';
  write_bytes(std::array{flags}, text);
  return text;
}

}  // namespace streamgate::executor

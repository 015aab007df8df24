// SPDX-License-Identifier: Apache-2.0
//
// What refusals say.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace streamgate::testing {

/// What the call's Error says; empty when it throws nothing.
template <typename Error, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

inline void expect_named(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    EXPECT_TRUE(contains(text, word)) << '"' << word << "\" is not in: " << text;
  }
}

}  // namespace streamgate::testing

// SPDX-License-Identifier: Apache-2.0
//
// Random values of every kind that calls carry, and a comparison that sees every bit.
#pragma once

#include <ATen/core/ivalue.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace streamgate::testing {

/// The same seed gives the same values.
class RandomValues {
 public:
  explicit RandomValues(std::uint64_t seed) : random_(seed) {}

  /// A few values, nested a few deep.
  [[nodiscard]] std::vector<c10::IValue> values();
  [[nodiscard]] c10::IValue value(std::size_t depth);
  /// Any dtype, rank, strides and offset; dense, spread and overlapping; with and without elements.
  [[nodiscard]] at::Tensor tensor();

  [[nodiscard]] std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  [[nodiscard]] c10::IValue list(std::size_t depth);
  [[nodiscard]] c10::IValue tuple(std::size_t depth);
  [[nodiscard]] std::string text();
  [[nodiscard]] double number();

  std::mt19937_64 random_;
};

/// What differs between two values, to the last bit of their types, shapes and bytes; empty when
/// nothing does. Strides may differ only where elements are spread over more than twice their
/// bytes.
[[nodiscard]] std::string difference(const c10::IValue& a, const c10::IValue& b);

}  // namespace streamgate::testing

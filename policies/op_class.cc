// SPDX-License-Identifier: Apache-2.0
//
// The names of the op classes.
#include <streamgate/policies/op_class.h>

namespace streamgate::policies {
namespace {

constexpr std::array<std::string_view, kOpClasses> kNames = {"raw", "kernel", "graph", "exclusive"};
constexpr std::array<std::string_view, kLanes> kLaneNames = {"raw", "kernel", "graph",
                                                             "kernel+graph", "exclusive"};

}  // namespace

std::string_view to_string(OpClass op_class) noexcept { return kNames[index_of(op_class)]; }

std::optional<OpClass> op_class_from(std::string_view name) noexcept {
  for (const OpClass op_class : kAllOpClasses) {
    if (name == to_string(op_class)) return op_class;
  }
  return std::nullopt;
}

std::string_view to_string(OpClassSet classes) noexcept { return kLaneNames[classes.lane()]; }

}  // namespace streamgate::policies

// SPDX-License-Identifier: Apache-2.0
#include <streamgate/policies/internal/class_keys.h>

#include <algorithm>
#include <string>

namespace streamgate::policies::internal {

Allowed class_word() {
  std::vector<std::string_view> all;
  for (const OpClass op_class : kAllOpClasses) all.push_back(to_string(op_class));
  return words(std::move(all));
}

std::optional<ClassPair> read_pair(TomlReading& reading, std::string_view name,
                                   const TomlNode& node, const std::vector<ClassPair>& before) {
  const std::string allowed = "; allowed: " + std::string(kPairAllowed);
  if (node.kind != TomlNode::Kind::kArray) {
    reading.error(node.line,
                  std::string(name) + " " + what_it_is(node) + ", not an array" + allowed);
    return std::nullopt;
  }
  std::vector<OpClass> classes;
  for (const TomlNode& element : node.elements) {
    const auto value = reading.value(std::string(name) + "[]", element, class_word());
    if (!value) return std::nullopt;
    classes.push_back(*op_class_from(std::get<std::string>(*value)));
  }
  if (classes.size() != 2) {
    reading.error(node.line, std::string(name) + " has " + std::to_string(classes.size()) +
                                 " classes" + allowed);
    return std::nullopt;
  }
  if (classes[0] == classes[1]) {
    reading.error(node.line, std::string(name) + " names \"" + std::string(to_string(classes[0])) +
                                 "\" twice" + allowed);
    return std::nullopt;
  }
  const ClassPair pair(classes[0], classes[1]);
  const bool known = std::any_of(before.begin(), before.end(), [&pair](const ClassPair& other) {
    return other == pair || other == ClassPair(pair.second, pair.first);
  });
  if (known) {
    reading.error(node.line, std::string(name) + " = " + print_pair(pair) +
                                 " is there already; allowed: each pair once");
    return std::nullopt;
  }
  return pair;
}

std::string print_pair(ClassPair pair) {
  std::string text = "[";
  text += toml_string(to_string(pair.first)) + ", " + toml_string(to_string(pair.second)) + "]";
  return text;
}

}  // namespace streamgate::policies::internal

// SPDX-License-Identifier: Apache-2.0
//
// Finding keys and sections in the table, and guessing which was meant.
#include <streamgate/policies/internal/config_names.h>
#include <streamgate/policies/internal/toml_reading.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::policies::internal {
std::string_view section_of(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == name.npos ? std::string_view() : name.substr(0, dot);
}

std::string_view leaf_of(std::string_view name) { return name.substr(name.rfind('.') + 1); }

std::string joined(std::string_view section, std::string_view leaf) {
  return section.empty() ? std::string(leaf) : std::string(section) + "." + std::string(leaf);
}

const ConfigRow* find_row(std::string_view name) {
  for (const ConfigRow& row : config_rows()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::vector<std::string> children_of(std::string_view section) {
  const std::string prefix = joined(section, "");
  std::vector<std::string> children;
  for (const ConfigRow& row : config_rows()) {
    if (!row.name.starts_with(prefix)) continue;
    std::string child = row.name.substr(prefix.size());
    child.resize(std::min(child.size(), child.find('.')));
    if (children.empty() || children.back() != child) children.push_back(std::move(child));
  }
  return children;
}

std::string known_in(std::string_view section) {
  std::string text = section.empty() ? std::string("Known sections: ")
                                     : "Known keys of [" + std::string(section) + "]: ";
  bool first = true;
  for (const std::string& child : children_of(section)) {
    text += (first ? "" : ", ") + child;
    first = false;
  }
  return text;
}

std::string_view nearest_key(std::string_view name) {
  std::string_view nearest;
  std::size_t least = SIZE_MAX;
  for (const ConfigRow& row : config_rows()) {
    // A key of another section counts as one edit further away.
    const std::size_t distance = edits(leaf_of(name), leaf_of(row.name)) +
                                 (section_of(name) == section_of(row.name) ? 0 : 1);
    if (distance < least) {
      least = distance;
      nearest = row.name;
    }
  }
  return is_slip(least, leaf_of(name)) ? nearest : std::string_view();
}

std::string nearest_section(std::string_view name) {
  std::string nearest;
  std::size_t least = SIZE_MAX;
  for (const std::string& child : children_of(section_of(name))) {
    std::string sibling = joined(section_of(name), child);
    if (find_row(sibling) != nullptr) continue;
    const std::size_t distance = edits(name, sibling);
    if (distance < least) {
      least = distance;
      nearest = std::move(sibling);
    }
  }
  return is_slip(least, name) ? nearest : std::string();
}

}  // namespace streamgate::policies::internal

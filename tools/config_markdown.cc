// SPDX-License-Identifier: Apache-2.0
//
// The words around the table of config keys, and the table as Markdown.
#include "config_markdown.h"

#include <streamgate/policies/config.h>

#include <string_view>

namespace streamgate::tools {
namespace {

constexpr std::string_view kBefore = R"(# Configuration

<!-- Made from policies/internal/config_table.cc. To change it, change that, or the words in
     tools/config_markdown.cc, and run the tools tests with STREAMGATE_UPDATE_DOCS=1. -->

One TOML file; every key is optional, and an empty file is the default configuration.
`streamgate --print-config` prints a complete one with the automatic values filled in, and
`streamgate --print-config --config FILE` what FILE comes to on this machine. `streamgate doctor
--config FILE` checks one.

A key that is not in these tables, a value of another type or outside its range is an error that names
file, line, key and what is allowed; every error of the file is reported at once. A file with an error
never replaces a configuration in effect.

`reload` says when a change takes effect in a running executor: `live` at once, `new tasks` for tasks
submitted from then on, `restart` when the executor is built again.
)";

/// A key's range or words may contain what Markdown takes for a column's end.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string code(std::string_view text) { return '`' + cell(text) + '`'; }

}  // namespace

std::string config_markdown() {
  std::string text(kBefore);
  std::string_view section;
  for (const policies::ConfigKey& key : policies::config_keys()) {
    const std::size_t dot = key.name.rfind('.');
    if (section != key.name.substr(0, dot)) {
      section = key.name.substr(0, dot);
      text += "\n## [" + std::string(section) + "]\n\n";
      text += "| key | default | allowed | unit | reload | meaning |\n|---|---|---|---|---|---|\n";
    }
    text += "| " + code(key.name.substr(dot + 1)) + " | " + code(key.default_value) + " | " +
            code(key.allowed) + " | " + std::string(key.unit) + " | " +
            std::string(to_string(key.reload_class)) + " | " + cell(key.help) + " |\n";
  }
  return text;
}

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// docs/config.md says what the table of keys says.
#include "config_markdown.h"

#include <streamgate/policies/config.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace streamgate::tools {
namespace {

constexpr const char* kFile = STREAMGATE_DOCS "/config.md";

TEST(ConfigMarkdown, HasEveryKeyWithItsDefaultRangeAndHelp) {
  const std::string text = config_markdown();
  for (const policies::ConfigKey& key : policies::config_keys()) {
    const std::string leaf(key.name.substr(key.name.rfind('.') + 1));
    EXPECT_NE(text.find("| `" + leaf + "` | `" + std::string(key.default_value) + "` | `" +
                        std::string(key.allowed) + "` |"),
              text.npos)
        << key.name;
    EXPECT_NE(text.find(key.help), text.npos) << key.name;
  }
}

TEST(ConfigMarkdown, IsWhatTheDocsHold) {
  if (std::getenv("STREAMGATE_UPDATE_DOCS") != nullptr) std::ofstream(kFile) << config_markdown();
  std::ifstream file(kFile);
  const std::string docs{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(docs, config_markdown())
      << "run this test with STREAMGATE_UPDATE_DOCS=1 to write docs/config.md anew";
}

}  // namespace
}  // namespace streamgate::tools

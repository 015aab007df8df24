// SPDX-License-Identifier: Apache-2.0
//
// Every block of code in README and docs is right: C++ is in a source that is compiled, to the
// letter but for its indentation; TOML is a config that can be used; JSON is JSON; CMake is the
// consumer test's; and what a shell block runs is there.
#include <streamgate/policies/config.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace streamgate {
namespace {

namespace fs = std::filesystem;
const fs::path kSource = STREAMGATE_SOURCE_DIR;

std::string read(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    const std::size_t begin = line.find_first_not_of(' ');
    if (begin != line.npos) lines.push_back(line.substr(begin));
  }
  return lines;
}

struct Block {
  std::string where;  ///< File and line.
  std::string language;
  std::string text;
};

std::vector<Block> blocks() {
  std::vector<fs::path> files = {kSource / "README.md"};
  for (const auto& entry : fs::directory_iterator(kSource / "docs")) {
    if (entry.path().extension() == ".md") files.push_back(entry.path());
  }
  std::vector<Block> blocks;
  for (const fs::path& file : files) {
    std::istringstream text(read(file));
    bool inside = false;
    int number = 0;
    for (std::string line; std::getline(text, line);) {
      ++number;
      const std::size_t fence = line.find_first_not_of(' ');
      if (fence != line.npos && line.compare(fence, 3, "```") == 0) {
        inside = !inside;
        if (inside) {
          blocks.push_back({file.filename().string() + ":" + std::to_string(number),
                            line.substr(fence + 3), ""});
        }
      } else if (inside) {
        blocks.back().text += line + '\n';
      }
    }
    EXPECT_FALSE(inside) << file << ": a block without an end";
  }
  return blocks;
}

/// Whether the lines come one after the other in the file, indented as they may be.
bool has_lines(const fs::path& file, const std::vector<std::string>& wanted) {
  const std::vector<std::string> there = lines_of(read(file));
  return std::search(there.begin(), there.end(), wanted.begin(), wanted.end()) != there.end();
}

/// A class and what follows it are apart in a source: each part of a block between empty lines is
/// looked for by itself.
std::vector<std::vector<std::string>> parts_of(const std::string& text) {
  std::vector<std::vector<std::string>> parts(1);
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const auto one = lines_of(line);
    if (one.empty()) {
      if (!parts.back().empty()) parts.emplace_back();
    } else {
      parts.back().push_back(one.front());
    }
  }
  if (parts.back().empty()) parts.pop_back();
  return parts;
}

TEST(DocsBlocks, AreThereAndOfALanguageThatIsChecked) {
  EXPECT_GE(blocks().size(), 10U);
  for (const Block& block : blocks()) {
    const bool picture = block.language.empty() && block.text.find("─") != block.text.npos;
    EXPECT_TRUE(picture || block.language == "cpp" || block.language == "toml" ||
                block.language == "json" || block.language == "cmake" || block.language == "sh")
        << block.where << ": " << block.language;
  }
}

TEST(DocsBlocks, CppIsCompiled) {
  for (const Block& block : blocks()) {
    if (block.language != "cpp") continue;
    for (const auto& part : parts_of(block.text)) {
      EXPECT_TRUE(has_lines(kSource / "tests/docs/snippets.cc", part) ||
                  has_lines(kSource / "examples/quickstart.cc", part))
          << block.where << ": '" << part.front() << "...' is in no source that is compiled";
    }
  }
}

TEST(DocsBlocks, TomlIsAConfigThatCanBeUsed) {
  for (const Block& block : blocks()) {
    if (block.language != "toml") continue;
    EXPECT_NO_THROW((void)policies::parse_config(block.text, block.where)) << block.where;
  }
}

TEST(DocsTuning, EveryKeyThatItNamesIsThere) {
  std::set<std::string> keys;
  std::set<std::string> sections;
  for (const policies::ConfigKey& key : policies::config_keys()) {
    std::string name(key.name);
    if (name.starts_with("gate.raw.")) name.replace(5, 3, "CLASS");
    keys.insert(name);
    sections.insert(name.substr(0, name.find('.')));
  }
  const std::string text = read(kSource / "docs/tuning.md");
  std::size_t named = 0;
  for (std::size_t at = text.find('`'); at != text.npos;) {
    const std::size_t end = text.find('`', at + 1);
    const std::string code = text.substr(at + 1, end - at - 1);
    at = text.find('`', end + 1);
    const std::size_t dot = code.find('.');
    if (dot == code.npos || !sections.contains(code.substr(0, dot))) continue;
    ++named;
    EXPECT_TRUE(keys.contains(code.substr(0, code.find(' ')))) << code;
  }
  EXPECT_GT(named, 15U);
}

TEST(DocsBlocks, JsonIsJson) {
  for (const Block& block : blocks()) {
    if (block.language != "json") continue;
    EXPECT_TRUE(nlohmann::json::accept(block.text)) << block.where;
  }
}

TEST(DocsBlocks, CMakeIsWhatTheConsumerTestBuildsWith) {
  const std::string consumer = read(kSource / "tests/consumer/project/CMakeLists.txt");
  for (const Block& block : blocks()) {
    if (block.language != "cmake") continue;
    for (const std::string& line : lines_of(block.text)) {
      // The targets' names; the project's own differ.
      std::istringstream words(line);
      for (std::string word; words >> word;) {
        if (!word.starts_with("streamgate::")) continue;
        if (word.back() == ')') word.pop_back();
        EXPECT_NE(consumer.find(word), consumer.npos) << block.where << ": " << word;
      }
    }
  }
}

TEST(DocsBlocks, WhatAShellBlockRunsIsThere) {
  const std::string dev = read(kSource / "dev");
  const std::string targets =
      read(kSource / "examples/CMakeLists.txt") + read(kSource / "tools/CMakeLists.txt");
  for (const Block& block : blocks()) {
    if (block.language != "sh") continue;
    for (const std::string& line : lines_of(block.text)) {
      std::istringstream words(line);
      std::string program;
      std::string argument;
      words >> program >> argument;
      if (program == "./dev") {
        EXPECT_NE(dev.find("\n  " + argument + ' '), dev.npos) << block.where << ": " << line;
      } else if (program.starts_with("build/release/bin/")) {
        EXPECT_NE(targets.find("add_executable(" + program.substr(18) + ' '), targets.npos)
            << block.where << ": " << line;
      } else {
        ADD_FAILURE() << block.where << ": nobody checks '" << line << "'";
      }
    }
  }
}

}  // namespace
}  // namespace streamgate

// SPDX-License-Identifier: Apache-2.0
#include "doctor/classify.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <vector>

namespace streamgate::tools {
namespace {

using executor::OperationUse;
using policies::OpClassSet;

/// libtorch's messages go on for pages with where it was thrown; the first lines say what.
std::string first_line(const std::exception& error) {
  const auto* const ours = dynamic_cast<const c10::Error*>(&error);
  std::string text = ours != nullptr ? ours->what_without_backtrace() : error.what();
  // "Unknown builtin op: ours::fused.\nCould not find any similar ops ..." begins with empty lines.
  text.erase(0, text.find_first_not_of(" \n\t"));
  return text.substr(0, text.find('\n'));
}

torch::jit::Module load(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (!std::filesystem::is_regular_file(status)) {
    throw ModelError(file.string() + ": " +
                     (error ? error.message() : std::string("is not a file")) +
                     "; remedy: name a file that torch.jit.save has written");
  }
  try {
    // Whatever device it was saved from: nothing of it will run.
    return torch::jit::load(file.string(), at::kCPU);
  } catch (const std::exception& exception) {
    throw ModelError(file.string() + " is no TorchScript module that this libtorch can read: " +
                     first_line(exception) +
                     "; remedy: save it with torch.jit.save (torch.save writes a pickle), with a "
                     "libtorch that is not newer than this one, and with operators it knows");
  }
}

OpClassSet class_of(const OperationUse& use) {
  return use.classes.value_or(policies::kUnknownOpClass);
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string version_text(const policies::Situation& situation) {
  if (!situation.libtorch) return "unknown";
  return std::to_string(situation.libtorch->major) + "." +
         std::to_string(situation.libtorch->minor);
}

}  // namespace

Classification classify_model(const std::filesystem::path& file, const policies::Config& config) {
  const executor::Classifier classifier(config);
  return {.file = file,
          .backend = config.executor.backend,
          .situation = classifier.situation(),
          .found = classifier.classes_of(load(file))};
}

bool all_known(const Classification& classification) {
  const auto& operations = classification.found.operations;
  return std::all_of(operations.begin(), operations.end(),
                     [](const OperationUse& use) { return use.classes.has_value(); });
}

std::string classification_text(const Classification& classification) {
  std::vector<OperationUse> operations = classification.found.operations;
  std::stable_sort(operations.begin(), operations.end(),
                   [](const OperationUse& a, const OperationUse& b) {
                     return class_of(a).lane() > class_of(b).lane();
                   });
  constexpr std::string_view kHead = "operation";
  std::size_t name_width = kHead.size();
  for (const OperationUse& use : operations) {
    name_width = std::max(name_width, use.operation.size());
  }
  constexpr std::size_t kCountWidth = 8;

  std::string text = classification.file.string() + ", on " + classification.backend +
                     " with libtorch " + version_text(classification.situation) + "\n\n";
  text += padded(std::string(kHead), name_width) + "  " + padded("places", kCountWidth) + "class\n";
  for (const OperationUse& use : operations) {
    text += padded(use.operation, name_width) + "  " +
            padded(std::to_string(use.count), kCountWidth) + std::string(to_string(class_of(use))) +
            (use.classes ? "\n" : "  (unknown)\n");
  }
  text += "\nclass of the module: " + std::string(to_string(classification.found.classes)) + "\n";
  if (!all_known(classification)) {
    text +=
        "An unknown operation is taken as kernel and graph. Remedy: a row for it in the file of "
        "op_table.file;\nsee docs/op_classes.md.\n";
  }
  return text;
}

std::string classification_json(const Classification& classification) {
  using Json = nlohmann::ordered_json;
  const policies::Situation& situation = classification.situation;
  Json json;
  json["file"] = classification.file.string();
  json["backend"] = classification.backend;
  json["libtorch"] = situation.libtorch ? Json(version_text(situation)) : Json();
  json["macos"] = situation.macos ? Json(*situation.macos) : Json();
  json["forced_graph_path"] =
      situation.forced_graph_path ? Json(*situation.forced_graph_path) : Json();
  json["class"] = to_string(classification.found.classes);
  json["operations"] = Json::array();
  for (const OperationUse& use : classification.found.operations) {
    json["operations"].push_back({{"operation", use.operation},
                                  {"places", use.count},
                                  {"class", to_string(class_of(use))},
                                  {"known", use.classes.has_value()}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace streamgate::tools

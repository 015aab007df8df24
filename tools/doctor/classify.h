// SPDX-License-Identifier: Apache-2.0
//
// `streamgate doctor --classify`: the op classes of a TorchScript file, as its executor would have
// them. Runs nothing of the model.
#pragma once

#include <streamgate/executor/classifier.h>
#include <streamgate/policies/config.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

namespace streamgate::tools {

/// A file that holds no TorchScript module, or none that this libtorch can read. what() names the
/// file, the reason and a remedy.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What was found in a file, and for which backend and libtorch.
struct Classification {
  std::filesystem::path file{};
  std::string backend{};
  policies::Situation situation{};  ///< Its own backend is unused.
  executor::ModuleClasses found{};
};

/// Reads the file and classifies it for the backend that the config names. Throws ModelError, and
/// policies::OpTableError for an op table that cannot be used.
[[nodiscard]] Classification classify_model(const std::filesystem::path& file,
                                            const policies::Config& config);

/// A table of the operations, the most restrictive first, and the class of all.
[[nodiscard]] std::string classification_text(const Classification& classification);
/// One JSON object, with the fields of docs/op_classes.md, always all of them.
[[nodiscard]] std::string classification_json(const Classification& classification);

/// Whether every operation is one that a table knows.
[[nodiscard]] bool all_known(const Classification& classification);

}  // namespace streamgate::tools

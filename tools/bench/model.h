// SPDX-License-Identifier: Apache-2.0
//
// A TorchScript model with an input, to be run over and over. Free of libtorch's headers, which
// cost the compiler a quarter of a minute wherever they are included.
#pragma once

#include <streamgate/executor/classifier.h>
#include <streamgate/policies/op_class.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::tools {

/// The shape and type of one argument of the model's forward.
struct InputShape {
  std::vector<std::int64_t> sizes{};
  bool whole_numbers = false;  ///< int64, as indices for an embedding; else float.
};

/// "32x256", or "1x128:int64". Throws std::invalid_argument that shows what is allowed.
[[nodiscard]] InputShape parse_input_shape(std::string_view text);

/// A loaded model and its input on a device.
///
/// Thread-safety: run is thread-safe, as TorchScript's forward is. Ownership: of model and tensors.
/// Blocking: run, for the work. Failure: the constructor throws std::runtime_error for a file that
/// is no model, or one that does not take this input; run throws what the model throws.
///
///     const ScriptModel model("mlp.pt", {{.sizes = {32, 256}}}, "cpu");
///     model.run();
class ScriptModel {
 public:
  ScriptModel(const std::filesystem::path& file, const std::vector<InputShape>& inputs,
              std::string_view backend);
  ~ScriptModel();
  ScriptModel(const ScriptModel&) = delete;
  ScriptModel& operator=(const ScriptModel&) = delete;

  void run() const;
  [[nodiscard]] policies::OpClassSet classes(const executor::Classifier& classifier) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What a fresh thread of a fresh process has. REQUIRES: no executor has run anything yet.
[[nodiscard]] std::size_t default_intra_op_threads();
/// Of the calling thread.
void set_intra_op_threads(std::size_t threads);

}  // namespace streamgate::tools

// SPDX-License-Identifier: Apache-2.0
//
// The TorchScript modules that calls may name: loaded once, from files that the operator named, and
// kept. Which of them another process has loaded is that process's registry's business.
#pragma once

#include <streamgate/executor/operation.h>

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// Where a module came from. The digest tells another process that it has read the same bytes; it
/// is against mistakes, not against malice.
struct ModuleFile {
  std::string name{};
  std::filesystem::path path{};
  std::uint64_t digest = 0;  ///< 0: not known yet.
  bool operator==(const ModuleFile&) const = default;
};

/// Modules by name.
///
/// Thread-safety: thread-safe. Ownership: of the modules, with the operations that were resolved
/// from them. Blocking: add reads and loads a file; no lock is held meanwhile. Failure:
/// OperationError, with nothing changed.
///
///     ModuleRegistry modules("cpu");
///     modules.add({.name = "encoder", .path = "/models/encoder.pt"});
///     Operation forward(modules.method("encoder.forward", &classifier));
class ModuleRegistry {
 public:
  /// `device` is where parameters go, as libtorch names devices.
  explicit ModuleRegistry(const std::string& device);
  ~ModuleRegistry();
  ModuleRegistry(const ModuleRegistry&) = delete;
  ModuleRegistry& operator=(const ModuleRegistry&) = delete;

  /// Loads the module, sets it to evaluation, and returns the file with its digest. The same name
  /// and content again changes nothing. Throws for a name that is empty, has a dot or "::", or
  /// stands for other content, for a file that is no TorchScript module, and for one whose digest
  /// is not the given one.
  ModuleFile add(ModuleFile file);

  /// Where parameters are.
  [[nodiscard]] const c10::Device& device() const noexcept { return device_; }

  /// All modules, by name.
  [[nodiscard]] std::vector<ModuleFile> files() const;

  /// Of "module.method".
  [[nodiscard]] std::shared_ptr<const OperationTarget> method(std::string_view name,
                                                              const Classifier* classifier) const;

  /// An operation by any name; the same one again for the same name, so that its graphs are found
  /// by whoever asks for it. REQUIRES: the same classifier every time.
  [[nodiscard]] std::shared_ptr<const OperationTarget> operation(
      std::string_view name, const Classifier* classifier) const;

 private:
  struct Loaded;
  const c10::Device device_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Loaded>, std::less<>> modules_;  // And methods'.
  mutable std::map<std::string, std::shared_ptr<const OperationTarget>, std::less<>> operations_;
};

}  // namespace streamgate::executor

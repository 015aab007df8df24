// SPDX-License-Identifier: Apache-2.0
//
// Loading modules, and their methods as operations.
#include <streamgate/executor/internal/module_registry.h>

#include <streamgate/executor/classifier.h>
#include <streamgate/executor/internal/module_walk.h>
#include <streamgate/executor/internal/operation_target.h>
#include <streamgate/executor/internal/package_target.h>

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <ios>
#include <istream>
#include <optional>
#include <streambuf>
#include <system_error>
#include <utility>

namespace streamgate::executor {

struct ModuleRegistry::Loaded {
  ModuleFile file;
  std::optional<torch::jit::Module> module;  ///< Nothing for a package.
  std::shared_ptr<const Package> package;    ///< Null for a module.
};

namespace {

namespace jit = torch::jit;

/// libtorch's messages go on for pages with where it was thrown; the first lines say what.
std::string first_line(const std::exception& error) {
  const auto* const ours = dynamic_cast<const c10::Error*>(&error);
  std::string text = ours != nullptr ? ours->what_without_backtrace() : error.what();
  text.erase(0, text.find_first_not_of(" \n\t"));
  return text.substr(0, text.find('\n'));
}

std::string read_whole(const ModuleFile& file) {
  const auto fail = [&](const std::string& why) {
    throw OperationError("module " + file.name + ": " + file.path.string() + ": " + why +
                         "; remedy: name a file that torch.jit.save has written");
  };
  std::error_code error;
  const auto status = std::filesystem::status(file.path, error);
  if (!std::filesystem::is_regular_file(status)) fail(error ? error.message() : "is not a file");
  const std::uintmax_t bytes = std::filesystem::file_size(file.path, error);
  if (error) fail(error.message());
  std::ifstream stream(file.path, std::ios::binary);
  std::string content(static_cast<std::size_t>(bytes), '\0');
  if (!stream.read(content.data(), static_cast<std::streamsize>(content.size()))) {
    fail("cannot be read");
  }
  return content;
}

/// FNV-1a of 64 bits, over words and then bytes: http://www.isthe.com/chongo/tech/comp/fnv.
std::uint64_t digest_of(std::string_view content) {
  constexpr std::uint64_t kPrime = 0x100'0000'01b3;
  std::uint64_t digest = 0xcbf2'9ce4'8422'2325;
  std::size_t at = 0;
  for (; at + sizeof(std::uint64_t) <= content.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    content.copy(reinterpret_cast<char*>(&word), sizeof(word), at);
    // A product carries upwards only: without the shift the upper bytes of words would hardly
    // count.
    digest = (digest ^ word) * kPrime;
    digest ^= digest >> 32U;
  }
  for (; at < content.size(); ++at) {
    digest = (digest ^ static_cast<unsigned char>(content[at])) * kPrime;
  }
  return digest == 0 ? 1 : digest;
}

/// Reads what lies in memory, in place.
class MemoryBuffer final : public std::streambuf {
 public:
  explicit MemoryBuffer(std::string& content) {
    setg(content.data(), content.data(), content.data() + content.size());
  }

 protected:
  pos_type seekoff(off_type offset, std::ios_base::seekdir from, std::ios_base::openmode) override {
    char* const base = from == std::ios_base::beg   ? eback()
                       : from == std::ios_base::cur ? gptr()
                                                    : egptr();
    if (offset < eback() - base || offset > egptr() - base) return pos_type(off_type(-1));
    setg(eback(), base + offset, egptr());
    return pos_type(gptr() - eback());
  }
  pos_type seekpos(pos_type position, std::ios_base::openmode mode) override {
    return seekoff(off_type(position), std::ios_base::beg, mode);
  }
};

jit::Module load(const ModuleFile& file, std::string& content, c10::Device device) {
  try {
    MemoryBuffer buffer(content);
    std::istream stream(&buffer);
    jit::Module module = jit::load(stream, device);
    // Without dropout and with the statistics that were learned: the same arguments give the same
    // result, whoever runs it.
    module.eval();
    return module;
  } catch (const std::exception& exception) {
    throw OperationError(
        "module " + file.name + ": " + file.path.string() +
        " is no TorchScript module that this libtorch can read: " + first_line(exception) +
        "; remedy: save it with torch.jit.save (torch.save writes a pickle), with "
        "a libtorch that is not newer than this one, and with operators it knows");
  }
}

/// The attributes of a module and of all in it, as they are now.
void add_attributes(const c10::ivalue::Object& object, std::vector<c10::IValue>& attributes) {
  for (const c10::IValue& slot : object.slots()) {
    attributes.push_back(slot);
    if (slot.isModule()) add_attributes(slot.toObjectRef(), attributes);
  }
}

class MethodTarget final : public OperationTarget {
 public:
  MethodTarget(Facts facts, jit::Module module, jit::Function& function)
      : OperationTarget(std::move(facts)),
        module_(std::move(module)),
        function_(function),
        may_assign_(assigns_attributes(module_)) {}

  const c10::FunctionSchema& schema() const noexcept override { return function_.getSchema(); }
  Effects effects(const std::vector<c10::IValue>&) const override { return Effects::kNone; }
  void run(jit::Stack& stack) const override {
    stack.insert(stack.begin(), module_._ivalue());
    function_.run(stack);
  }
  void run_watched(jit::Stack& stack) const override {
    if (!may_assign_) return run(stack);
    const auto attributes = [this] {
      std::vector<c10::IValue> now;
      add_attributes(*module_._ivalue(), now);
      return now;
    };
    const std::vector<c10::IValue> before = attributes();
    run(stack);
    const std::vector<c10::IValue> after = attributes();
    const bool same =
        std::equal(before.begin(), before.end(), after.begin(), after.end(),
                   [](const c10::IValue& one, const c10::IValue& other) { return one.is(other); });
    if (!same) assigns_.store(true, std::memory_order_relaxed);
  }
  const char* why_no_graph() const noexcept override {
    return assigns_.load(std::memory_order_relaxed)
               ? "it gives an attribute of its module another value"
               : nullptr;
  }

 private:
  const jit::Module module_;
  jit::Function& function_;  ///< The module's.
  const bool may_assign_;
  mutable std::atomic<bool> assigns_{false};
};

}  // namespace

ModuleRegistry::ModuleRegistry(const std::string& device) : device_(device) {}
ModuleRegistry::~ModuleRegistry() = default;

ModuleFile ModuleRegistry::add(ModuleFile file) {
  if (file.name.empty() || file.name.find_first_of(".:") != file.name.npos) {
    throw OperationError("module \"" + file.name +
                         "\": a name is not empty and has neither a dot nor a colon");
  }
  // Another process may stand in another folder.
  file.path = std::filesystem::absolute(file.path);
  std::string content = read_whole(file);
  const std::uint64_t digest = digest_of(content);
  if (file.digest != 0 && file.digest != digest) {
    throw OperationError("module " + file.name + ": " + file.path.string() +
                         " is not what it was when it was registered; remedy: register changed "
                         "files under another name, and leave files that are in use alone");
  }
  file.digest = digest;
  const auto known = [&] {
    const auto found = modules_.find(file.name);
    if (found == modules_.end()) return false;
    if (found->second->file.digest == digest) return true;
    throw OperationError("module " + file.name + " is registered already, from " +
                         found->second->file.path.string() + ", with other content than " +
                         file.path.string());
  };
  {
    const std::lock_guard lock(mutex_);
    if (known()) return file;
  }
  Loaded made{.file = file, .module = std::nullopt, .package = nullptr};
  if (is_package(file)) {
    made.package = load_package(file, device_);
  } else {
    made.module = load(file, content, device_);
  }
  auto loaded = std::make_shared<const Loaded>(std::move(made));
  const std::lock_guard lock(mutex_);
  if (!known()) modules_.emplace(file.name, std::move(loaded));
  return file;
}

std::vector<ModuleFile> ModuleRegistry::files() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModuleFile> files;
  for (const auto& [name, loaded] : modules_) files.push_back(loaded->file);
  return files;
}

std::shared_ptr<const OperationTarget> ModuleRegistry::operation(
    std::string_view name, const Classifier* classifier) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = operations_.find(name); found != operations_.end()) return found->second;
  }
  std::shared_ptr<const OperationTarget> made = name.find("::") != name.npos
                                                    ? make_operator_target(name, classifier)
                                                    : method(name, classifier);
  const std::lock_guard lock(mutex_);
  return operations_.emplace(std::string(name), std::move(made)).first->second;
}

std::shared_ptr<const OperationTarget> ModuleRegistry::method(std::string_view name,
                                                              const Classifier* classifier) const {
  const std::size_t dot = name.find('.');
  const std::string_view module_name = name.substr(0, dot);
  std::shared_ptr<const Loaded> loaded;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = modules_.find(module_name); found != modules_.end()) {
      loaded = found->second;
    }
  }
  if (dot == name.npos || !loaded) {
    throw OperationError(
        "\"" + std::string(name) +
        "\" names no operation: an operator is named as aten::add.Tensor, a "
        "method as module.method, where the module was registered under that name");
  }
  const std::string method_name(name.substr(dot + 1));
  if (loaded->package) {
    if (method_name == "forward") {
      return make_package_target(std::string(name), loaded->file, loaded->package, device_);
    }
    throw OperationError("package " + loaded->file.name + " has no method " + method_name +
                         "; it has: forward");
  }
  const jit::Module& module = *loaded->module;
  const auto method = module.find_method(method_name);
  if (!method) {
    std::string known;
    for (const jit::Method& there : module.get_methods()) {
      known += (known.empty() ? "" : ", ") + there.name();
    }
    throw OperationError("module " + loaded->file.name + " has no method " + method_name +
                         "; it has: " + known);
  }
  return std::make_shared<const MethodTarget>(
      OperationTarget::Facts{.kind = Operation::Kind::kMethod,
                             .name = std::string(name),
                             .op_class = classifier ? classifier->classes_of(module).classes
                                                    : policies::kUnknownOpClass,
                             .gives_views = false,
                             .first_argument = 1,
                             .module = loaded->file},
      module, method->function());
}

}  // namespace streamgate::executor

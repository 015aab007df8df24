// SPDX-License-Identifier: Apache-2.0
//
// Looks at the loaded library, not at the headers.
#include <streamgate/executor/internal/build_id.h>
#include <streamgate/executor/internal/torch_library.h>

#include <ATen/Version.h>
#include <dlfcn.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__GLIBC__)
#include <link.h>
#endif

namespace streamgate::executor {
namespace {

namespace fs = std::filesystem;

#if defined(__GLIBC__)
/// The folders that the loader would search for a library of this program, in its own words: the
/// path built into it, LD_LIBRARY_PATH and the defaults.
void append_loader_folders(std::vector<fs::path>& folders) {
  const std::unique_ptr<void, int (*)(void*)> program(dlopen(nullptr, RTLD_LAZY), &dlclose);
  Dl_serinfo size{};
  if (!program || dlinfo(program.get(), RTLD_DI_SERINFOSIZE, &size) != 0) return;
  std::vector<std::max_align_t> memory(size.dls_size / sizeof(std::max_align_t) + 1);
  auto* info = reinterpret_cast<Dl_serinfo*>(memory.data());
  *info = size;
  if (dlinfo(program.get(), RTLD_DI_SERINFO, info) != 0) return;
  const Dl_serpath* entries = info->dls_serpath;
  for (unsigned int i = 0; i < info->dls_cnt; ++i) {
    if (entries[i].dls_name[0] != '\0') folders.emplace_back(entries[i].dls_name);
  }
}

/// The folders that ldconfig indexes beside the defaults.
void append_configured_folders(std::vector<fs::path>& folders) {
  std::error_code error;
  for (fs::directory_iterator entry("/etc/ld.so.conf.d", error), end; !error && entry != end;
       entry.increment(error)) {
    std::ifstream file(entry->path());
    for (std::string line; std::getline(file, line);) {
      if (line.rfind('/', 0) == 0)
        folders.emplace_back(line.substr(0, line.find_first_of(" \t\r#")));
    }
  }
}
#endif

/// Whether it looks like a commit, and not like "unknown".
bool is_git_hash(std::string_view text) {
  return text.size() >= 7 && text.size() <= 64 &&
         text.find_first_not_of("0123456789abcdef") == text.npos;
}

std::vector<fs::path> library_folders(const fs::path& loaded) {
#if defined(__APPLE__)
  constexpr const char* kPathVariable = "DYLD_LIBRARY_PATH";
  std::vector<fs::path> folders = {"/usr/local/lib", "/opt/homebrew/lib"};
#else
  constexpr const char* kPathVariable = "LD_LIBRARY_PATH";
  std::vector<fs::path> folders = {
      "/lib",   "/usr/lib",   "/usr/local/lib",    "/usr/local/lib64",
      "/lib64", "/usr/lib64", "/opt/libtorch/lib", "/usr/local/libtorch/lib"};
  for (const char* base : {"/lib", "/usr/lib", "/usr/local/lib"}) {
    folders.push_back(fs::path(base) / "x86_64-linux-gnu");
    folders.push_back(fs::path(base) / "aarch64-linux-gnu");
  }
#endif
#if defined(__GLIBC__)
  append_loader_folders(folders);
  append_configured_folders(folders);
#endif
  if (const char* path = std::getenv(kPathVariable)) {
    std::istringstream entries(path);
    for (std::string entry; std::getline(entries, entry, ':');) {
      if (!entry.empty()) folders.emplace_back(entry);
    }
  }
  if (!loaded.empty()) folders.push_back(loaded.parent_path());
  return folders;
}

}  // namespace

std::string header_torch_version() { return TORCH_VERSION; }

std::string loaded_torch_setting(std::string_view name) {
  const std::string settings = at::show_config();
  const std::string key = ' ' + std::string(name) + '=';
  const std::size_t at = settings.find(key);
  if (at == settings.npos) return {};
  const std::size_t begin = at + key.size();
  return settings.substr(begin, settings.find_first_of(", \n", begin) - begin);
}

std::string loaded_torch_version() {
  // libtorch has no function for its version; its build settings name it.
  std::string version = loaded_torch_setting("TORCH_VERSION");
  return version.empty() ? header_torch_version() + " (of the headers)" : version;
}

std::string loaded_torch_git_hash() {
  std::string hash = loaded_torch_setting("COMMIT_SHA");
  return is_git_hash(hash) ? hash : torch_git_hash_beside(loaded_torch_path());
}

std::string torch_git_hash_beside(const fs::path& library) {
  const fs::path root = library.parent_path().parent_path();
  std::string line;
  if (std::ifstream file(root / "build-hash"); file >> line && is_git_hash(line)) return line;
  for (std::ifstream file(root / "version.py"); std::getline(file, line);) {
    if (line.rfind("git_version", 0) != 0) continue;
    const std::size_t begin = line.find('\'') + 1;
    std::string hash = line.substr(begin, line.find('\'', begin) - begin);
    if (is_git_hash(hash)) return hash;
  }
  return {};
}

std::string loaded_torch_identity() {
  // Sought once: provenance is asked for with every executor.
  static const auto& identity = *new std::string(torch_identity(
      loaded_torch_version(), build_id_of(reinterpret_cast<const void*>(&at::show_config)),
      loaded_torch_git_hash()));
  return identity;
}

std::string torch_identity(const std::string& version, const std::string& build_id,
                           const std::string& git_hash) {
  constexpr std::size_t kDigits = 12;
  const std::string& build = build_id.empty() ? git_hash : build_id;
  return build.empty() ? version : version + " (build " + build.substr(0, kDigits) + ")";
}

fs::path loaded_torch_path() {
  Dl_info info{};
  // at::show_config lives in libtorch_cpu, the library that matters.
  if (dladdr(reinterpret_cast<const void*>(&at::show_config), &info) == 0 ||
      info.dli_fname == nullptr) {
    return {};
  }
  std::error_code error;
  const fs::path real = fs::canonical(info.dli_fname, error);
  return error ? fs::path(info.dli_fname) : real;
}

void* loaded_torch_function(const char* name) {
  const std::unique_ptr<void, int (*)(void*)> library(
      dlopen(loaded_torch_path().c_str(), RTLD_LAZY | RTLD_NOLOAD), &dlclose);
  return library ? dlsym(library.get(), name) : nullptr;
}

std::vector<fs::path> other_torch_paths() {
  const fs::path loaded = loaded_torch_path();
  std::vector<fs::path> others;
  for (const fs::path& folder : library_folders(loaded)) {
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (name.rfind("libtorch_cpu.so", 0) != 0 && name != "libtorch_cpu.dylib") continue;
      std::error_code ignored;
      const fs::path real = fs::canonical(entry->path(), ignored);
      if (ignored || real == loaded || fs::equivalent(real, loaded, ignored)) continue;
      if (std::find(others.begin(), others.end(), real) == others.end()) others.push_back(real);
    }
  }
  return others;
}

std::string cpu_model() {
  std::string model;
#if defined(__APPLE__)
  char brand[256] = {};
  std::size_t size = sizeof brand;
  if (sysctlbyname("machdep.cpu.brand_string", brand, &size, nullptr, 0) == 0) model = brand;
#else
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos) model = line.substr(line.find_first_not_of(' ', colon + 1));
    break;
  }
#endif
  if (model.empty()) model = "CPU";
  return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " cores";
}

std::string operating_system() {
  utsname name{};
  if (uname(&name) != 0) return {};
  return std::string(name.sysname) + " " + name.release + " " + name.machine;
}

std::optional<unsigned> macos_version() {
#if defined(__APPLE__)
  char text[64] = {};
  std::size_t size = sizeof(text) - 1;
  if (sysctlbyname("kern.osproductversion", text, &size, nullptr, 0) != 0) return std::nullopt;
  const unsigned long major = std::strtoul(text, nullptr, 10);
  if (major != 0) return static_cast<unsigned>(major);
#endif
  return std::nullopt;
}

}  // namespace streamgate::executor

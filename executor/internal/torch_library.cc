// SPDX-License-Identifier: Apache-2.0
//
// Looks at the loaded library, not at the headers.
#include <streamgate/executor/internal/torch_library.h>

#include <ATen/Version.h>
#include <dlfcn.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace streamgate::executor {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> library_folders(const fs::path& loaded) {
#if defined(__APPLE__)
  constexpr const char* kPathVariable = "DYLD_LIBRARY_PATH";
  std::vector<fs::path> folders = {"/usr/local/lib", "/opt/homebrew/lib"};
#else
  constexpr const char* kPathVariable = "LD_LIBRARY_PATH";
  std::vector<fs::path> folders = {"/lib", "/usr/lib", "/usr/local/lib", "/usr/local/lib64",
                                   "/lib64", "/usr/lib64", "/opt/libtorch/lib",
                                   "/usr/local/libtorch/lib"};
  for (const char* base : {"/lib", "/usr/lib", "/usr/local/lib"}) {
    folders.push_back(fs::path(base) / "x86_64-linux-gnu");
    folders.push_back(fs::path(base) / "aarch64-linux-gnu");
  }
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

std::string loaded_torch_version() {
  // libtorch has no function for its version; its build settings name it.
  const std::string settings = at::show_config();
  const std::string key = "TORCH_VERSION=";
  const std::size_t at = settings.find(key);
  if (at == std::string::npos) return header_torch_version() + " (of the headers)";
  const std::size_t begin = at + key.size();
  return settings.substr(begin, settings.find_first_of(", \n", begin) - begin);
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
      if (ignored || real == loaded) continue;
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

}  // namespace streamgate::executor

// SPDX-License-Identifier: Apache-2.0
#include "doctor/loaded_libraries.h"

#include <dlfcn.h>

#include <algorithm>
#include <memory>
#include <system_error>

#if defined(__APPLE__)
#include <mach-o/dyld.h>
#else
#include <link.h>
#endif

namespace streamgate::tools {
namespace {

namespace fs = std::filesystem;

/// Libraries inside macOS have names but no files.
fs::path resolved(const char* name) {
  std::error_code error;
  fs::path real = fs::canonical(name, error);
  return error ? fs::path(name) : real;
}

void append_once(std::vector<fs::path>& files, const char* name) {
  if (name == nullptr || *name == '\0') return;  // The program itself.
  fs::path file = resolved(name);
  if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(std::move(file));
}

}  // namespace

std::vector<fs::path> loaded_libraries() {
  std::vector<fs::path> files;
#if defined(__APPLE__)
  for (std::uint32_t i = 1; i < _dyld_image_count(); ++i) {
    append_once(files, _dyld_get_image_name(i));
  }
#else
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        append_once(*static_cast<std::vector<fs::path>*>(to), info->dlpi_name);
        return 0;
      },
      &files);
#endif
  return files;
}

fs::path library_of(const std::string& function) {
  // The order in which the loader bound the libraries that came with the program.
  void* address = dlsym(RTLD_DEFAULT, function.c_str());
  Dl_info info{};
  if (address == nullptr || dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  return resolved(info.dli_fname);
}

void* function_in(const fs::path& library, const std::string& function) {
  const std::unique_ptr<void, int (*)(void*)> handle(
      dlopen(library.c_str(), RTLD_LAZY | RTLD_NOLOAD), &dlclose);
  return handle ? dlsym(handle.get(), function.c_str()) : nullptr;
}

}  // namespace streamgate::tools

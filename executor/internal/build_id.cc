// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/internal/build_id.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__APPLE__)
#include <dlfcn.h>
#include <mach-o/loader.h>
#elif defined(__linux__)
#include <elf.h>
#include <link.h>
#endif

namespace streamgate::executor {
namespace {

[[maybe_unused]] std::string hexadecimal(const unsigned char* bytes, std::size_t size) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += kHex[bytes[i] / 16U];
    text += kHex[bytes[i] % 16U];
  }
  return text;
}

#if defined(__linux__)

struct Search {
  std::uintptr_t address;
  std::string id;
};

bool lies_in(std::uintptr_t address, const dl_phdr_info& object) {
  for (std::size_t i = 0; i < object.dlpi_phnum; ++i) {
    const auto& segment = object.dlpi_phdr[i];
    const std::uintptr_t begin = object.dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && address >= begin && address - begin < segment.p_memsz) {
      return true;
    }
  }
  return false;
}

/// The build id among the notes of one segment; empty when it is not there. Layout of elf(5): a
/// header, then a name and a description, each padded to four bytes.
std::string id_among(const unsigned char* notes, std::size_t size) {
  const auto padded = [](std::size_t bytes) { return (bytes + 3U) & ~std::size_t{3}; };
  while (size >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, notes, sizeof header);
    const std::size_t name = sizeof header;
    const std::size_t description = name + padded(header.n_namesz);
    const std::size_t next = description + padded(header.n_descsz);
    if (next > size) return {};
    if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == 4 &&
        std::memcmp(notes + name, "GNU", 4) == 0) {
      return hexadecimal(notes + description, header.n_descsz);
    }
    notes += next;
    size -= next;
  }
  return {};
}

int look_at(dl_phdr_info* object, std::size_t, void* data) {
  Search& search = *static_cast<Search*>(data);
  if (!lies_in(search.address, *object)) return 0;
  for (std::size_t i = 0; i < object->dlpi_phnum && search.id.empty(); ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    search.id =
        id_among(reinterpret_cast<const unsigned char*>(object->dlpi_addr + segment.p_vaddr),
                 segment.p_memsz);
  }
  return 1;
}

#endif

}  // namespace

std::string build_id_of(const void* address) {
#if defined(__linux__)
  Search search{.address = reinterpret_cast<std::uintptr_t>(address), .id = {}};
  dl_iterate_phdr(&look_at, &search);
  return search.id;
#elif defined(__APPLE__)
  Dl_info info{};
  if (dladdr(address, &info) == 0) return {};
  const auto* header = static_cast<const mach_header_64*>(info.dli_fbase);
  const auto* at = reinterpret_cast<const unsigned char*>(header + 1);
  for (std::uint32_t i = 0; i < header->ncmds; ++i) {
    load_command command;
    std::memcpy(&command, at, sizeof command);
    if (command.cmd == LC_UUID) return hexadecimal(at + offsetof(uuid_command, uuid), 16);
    at += command.cmdsize;
  }
  return {};
#else
  static_cast<void>(address);
  return {};
#endif
}

}  // namespace streamgate::executor

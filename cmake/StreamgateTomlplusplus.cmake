# SPDX-License-Identifier: Apache-2.0
# toml++, as headers only. Debian's CMake package of it is for a shared library, which every user of
# our static libraries would have to link as well.
find_path(TOMLPLUSPLUS_INCLUDE_DIR toml++/toml.h REQUIRED)
add_library(tomlplusplus::tomlplusplus INTERFACE IMPORTED)
target_include_directories(tomlplusplus::tomlplusplus INTERFACE "${TOMLPLUSPLUS_INCLUDE_DIR}")

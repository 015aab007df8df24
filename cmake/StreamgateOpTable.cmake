# SPDX-License-Identifier: Apache-2.0
# Puts the shipped op table into a library, as a text, and installs the file. It must not contain
# )TOML". Changing it runs CMake again.
function(streamgate_embed_op_table target file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  file(READ "${file}" text)
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/op_table_text.cc")
  file(CONFIGURE OUTPUT "${generated}" @ONLY CONTENT
"// Made by cmake/StreamgateOpTable.cmake.
#include <streamgate/policies/internal/op_table_file.h>

namespace streamgate::policies::internal {

std::string_view shipped_op_table() {
  return R\"TOML(@text@)TOML\";
}

}  // namespace streamgate::policies::internal
")
  target_sources(${target} PRIVATE "${generated}")
  install(FILES "${file}" DESTINATION "${CMAKE_INSTALL_DATADIR}/streamgate")
endfunction()

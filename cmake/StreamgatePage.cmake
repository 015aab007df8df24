# SPDX-License-Identifier: Apache-2.0
# Puts the status page into a library as one text: page.html with page.css and page.js in their places.
# None of them may contain )PAGE". Changing one runs CMake again.
function(streamgate_embed_page target folder)
  foreach(part IN ITEMS html css js)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${folder}/page.${part}")
    file(READ "${folder}/page.${part}" ${part})
  endforeach()
  string(REPLACE "/* page.css */" "${css}" html "${html}")
  string(REPLACE "/* page.js */" "${js}" html "${html}")
  # In pieces, as a compiler need not take a longer literal than 64 KiB.
  string(LENGTH "${html}" length)
  set(pieces "")
  set(begin 0)
  while(begin LESS length)
    string(SUBSTRING "${html}" ${begin} 8000 piece)
    string(APPEND pieces "R\"PAGE(${piece})PAGE\"\n")
    math(EXPR begin "${begin} + 8000")
  endwhile()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/status_page.cc")
  file(CONFIGURE OUTPUT "${generated}" @ONLY CONTENT
"// Made by cmake/StreamgatePage.cmake.
#include <streamgate/metrics/internal/status_page.h>

namespace streamgate::metrics::internal {

std::string_view status_page() noexcept {
  return
@pieces@;
}

}  // namespace streamgate::metrics::internal
")
  target_sources(${target} PRIVATE "${generated}")
endfunction()

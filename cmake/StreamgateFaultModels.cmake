# SPDX-License-Identifier: Apache-2.0
# Puts the shipped fault models into a library, as texts by name, and installs the files. A file
# must not contain )TOML". Changing, adding or removing one runs CMake again.
function(streamgate_embed_fault_models target folder)
  file(GLOB files CONFIGURE_DEPENDS "${folder}/*.toml")
  list(SORT files)
  set(entries "")
  foreach(file IN LISTS files)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
    get_filename_component(name "${file}" NAME_WLE)
    file(READ "${file}" text)
    string(APPEND entries "      {.name = \"${name}\",\n       .toml = R\"TOML(${text})TOML\"},\n")
  endforeach()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/fault_model_texts.cc")
  file(CONFIGURE OUTPUT "${generated}" @ONLY CONTENT
"// Made by cmake/StreamgateFaultModels.cmake.
#include <streamgate/policies/internal/fault_model_texts.h>

namespace streamgate::policies::internal {

std::vector<ShippedFaultModel> fault_model_texts() {
  return {
@entries@  };
}

}  // namespace streamgate::policies::internal
")
  target_sources(${target} PRIVATE "${generated}")
  install(FILES ${files} DESTINATION "${CMAKE_INSTALL_DATADIR}/streamgate/fault_models")
endfunction()

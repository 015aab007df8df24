# SPDX-License-Identifier: Apache-2.0
# streamgate_add_library(NAME SOURCES ... HEADERS ... INTERNAL ...): the one way a folder becomes a
# target. Headers are reached as <streamgate/FOLDER/x.h>, in the tree and installed alike: in the
# tree through links under <build>/include. Every header is also compiled alone.
set(STREAMGATE_INCLUDE_DIR "${PROJECT_BINARY_DIR}/include")
set(STREAMGATE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast)

set(STREAMGATE_SANITIZE "" CACHE STRING "Sanitizers for this build, as -fsanitize= takes them")

function(streamgate_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  # In a batch of sources a local name may be that of another one's.
  target_compile_options(${target} PRIVATE ${STREAMGATE_WARNINGS}
    "$<$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>:-Wno-shadow;-Wno-subobject-linkage>")
  if(STREAMGATE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${STREAMGATE_SANITIZE}
      -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
    target_link_options(${target} PUBLIC -fsanitize=${STREAMGATE_SANITIZE})
  endif()
endfunction()

# The header NAME.h of folder FOLDER becomes <streamgate/NAME.h>.
function(streamgate_link_header source destination)
  get_filename_component(folder "${STREAMGATE_INCLUDE_DIR}/${destination}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")
  file(CREATE_LINK "${source}" "${STREAMGATE_INCLUDE_DIR}/${destination}" SYMBOLIC)
endfunction()

function(streamgate_add_library name)
  cmake_parse_arguments(arg "" "UMBRELLA" "SOURCES;HEADERS;INTERNAL" ${ARGN})
  set(target streamgate_${name})
  add_library(${target} ${arg_SOURCES})
  add_library(streamgate::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
  streamgate_compile_options(${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${STREAMGATE_INCLUDE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

  foreach(header IN LISTS arg_HEADERS)
    streamgate_link_header("${CMAKE_CURRENT_SOURCE_DIR}/${header}" "streamgate/${name}/${header}")
    get_filename_component(folder "${header}" DIRECTORY)
    install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/streamgate/${name}/${folder})
  endforeach()
  foreach(header IN LISTS arg_INTERNAL)
    streamgate_link_header("${CMAKE_CURRENT_SOURCE_DIR}/${header}" "streamgate/${name}/${header}")
  endforeach()
  if(arg_UMBRELLA)
    streamgate_link_header("${CMAKE_CURRENT_SOURCE_DIR}/${arg_UMBRELLA}" "streamgate/${name}.h")
    install(FILES ${arg_UMBRELLA} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/streamgate
      RENAME ${name}.h)
  endif()

  # Style rule 2: every header compiles alone. With a sanitizer it would be the same again; and a
  # header that its own source includes first has been compiled alone there.
  set(alone "")
  foreach(header IN LISTS arg_HEADERS arg_INTERNAL)
    string(REGEX REPLACE "\\.h$" ".cc" source "${CMAKE_CURRENT_SOURCE_DIR}/${header}")
    set(first "")
    if(EXISTS "${source}")
      file(STRINGS "${source}" first REGEX "^#include" LIMIT_COUNT 1)
    endif()
    if("${first}" STREQUAL "#include <streamgate/${name}/${header}>")
      continue()
    endif()
    string(REPLACE "/" "_" stem "${header}")
    set(file "${CMAKE_CURRENT_BINARY_DIR}/alone/${stem}.cc")
    file(CONFIGURE OUTPUT "${file}" CONTENT "#include <streamgate/${name}/${header}>\n" @ONLY)
    list(APPEND alone "${file}")
  endforeach()
  if(alone AND STREAMGATE_BUILD_TESTS AND NOT STREAMGATE_SANITIZE)
    add_library(${target}_headers_alone OBJECT ${alone})
    set_target_properties(${target}_headers_alone PROPERTIES UNITY_BUILD OFF)
    streamgate_compile_options(${target}_headers_alone)
    target_link_libraries(${target}_headers_alone PRIVATE ${target})
  endif()
  install(TARGETS ${target} EXPORT streamgate_targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

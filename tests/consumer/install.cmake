# SPDX-License-Identifier: Apache-2.0
# Installs the tree built in BUILD and moves what it installed to PREFIX: a package that knows the
# place it was installed to, or built in, does not survive that.
file(REMOVE_RECURSE "${PREFIX}" "${PREFIX}.installed")
execute_process(
  COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --config "${CONFIG}" --prefix "${PREFIX}.installed"
  COMMAND_ERROR_IS_FATAL ANY)
file(RENAME "${PREFIX}.installed" "${PREFIX}")

file(GLOB_RECURSE installed "${PREFIX}/*.cmake" "${PREFIX}/*.pc" "${PREFIX}/*.h")
foreach(file IN LISTS installed)
  file(READ "${file}" text)
  string(FIND "${text}" "${SOURCE}" at)
  if(NOT at EQUAL -1)
    message(SEND_ERROR "${file} names the source or build folder")
  endif()
endforeach()

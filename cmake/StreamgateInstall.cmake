# SPDX-License-Identifier: Apache-2.0
# Makes an installed tree usable, by find_package(streamgate) and by pkg-config. The libraries and
# their headers install themselves (StreamgateTarget.cmake); this installs what leads to them. All of
# it may be moved to another prefix afterwards. tests/consumer builds a program against the result.
include(CMakePackageConfigHelpers)

set(streamgate_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/streamgate")
install(EXPORT streamgate_targets NAMESPACE streamgate::
  FILE streamgate-targets.cmake DESTINATION "${streamgate_package_dir}")
configure_package_config_file(cmake/streamgate-config.cmake.in
  "${PROJECT_BINARY_DIR}/package/streamgate-config.cmake"
  INSTALL_DESTINATION "${streamgate_package_dir}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/streamgate-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/package/streamgate-config.cmake"
  "${PROJECT_BINARY_DIR}/package/streamgate-config-version.cmake"
  DESTINATION "${streamgate_package_dir}")

# The pkg-config file finds its prefix from its own place, as the CMake package does.
set(streamgate_pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH STREAMGATE_PC_PREFIX "/${streamgate_pc_dir}" "/")
string(REGEX REPLACE "/$" "" STREAMGATE_PC_PREFIX "${STREAMGATE_PC_PREFIX}")
set(STREAMGATE_PC_REQUIRES "tbb")
set(STREAMGATE_PC_LIBS "-lstreamgate_executor -lstreamgate_policies")
set(STREAMGATE_PC_CFLAGS "")
if(STREAMGATE_WITH_METRICS)
  string(PREPEND STREAMGATE_PC_LIBS "-lstreamgate_metrics ")
  string(APPEND STREAMGATE_PC_REQUIRES " prometheus-cpp-core cpp-httplib libcrypto")
endif()
if(STREAMGATE_WITH_TORCH)
  # libtorch has no pkg-config file. Its device libraries register themselves when they are loaded:
  # nothing names their symbols, so the linker must not drop them.
  string(APPEND STREAMGATE_PC_LIBS " -L$<TARGET_FILE_DIR:torch> -Wl,--no-as-needed")
  foreach(library IN ITEMS torch torch_cpu torch_cuda c10_cuda c10)
    if(TARGET ${library})
      string(APPEND STREAMGATE_PC_LIBS " -l${library}")
    endif()
  endforeach()
  string(APPEND STREAMGATE_PC_LIBS " -Wl,--as-needed")
  get_target_property(folders torch INTERFACE_INCLUDE_DIRECTORIES)
  get_target_property(flags torch INTERFACE_COMPILE_OPTIONS)
  list(TRANSFORM folders PREPEND "-I")
  list(JOIN folders " " STREAMGATE_PC_CFLAGS)
  if(flags)
    list(JOIN flags " " flags)
    string(APPEND STREAMGATE_PC_CFLAGS " ${flags}")
  endif()
endif()
configure_file(cmake/streamgate.pc.in "${PROJECT_BINARY_DIR}/package/streamgate.pc.in" @ONLY)
file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/package/$<CONFIG>/streamgate.pc"
  INPUT "${PROJECT_BINARY_DIR}/package/streamgate.pc.in")
install(FILES "${PROJECT_BINARY_DIR}/package/$<CONFIG>/streamgate.pc"
  DESTINATION "${streamgate_pc_dir}")

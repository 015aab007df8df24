# SPDX-License-Identifier: Apache-2.0
# libtorch behind one target of ours, streamgate_torch. Torch's own package writes to global flag
# variables, so it is called inside a function: they end with it.
function(streamgate_find_torch)
  # Debian 13's package (2.6.0+dfsg-7) warns of a static kineto that it neither ships nor needs. The
  # answer below ends in TORCH_LIBRARIES only, which nothing here reads.
  set(kineto_LIBRARY torch)
  find_package(Torch REQUIRED)
  add_library(streamgate_torch INTERFACE)
  add_library(streamgate::torch ALIAS streamgate_torch)
  set_target_properties(streamgate_torch PROPERTIES EXPORT_NAME torch)
  # A target, not TORCH_LIBRARIES and TORCH_INCLUDE_DIRS: those are paths of this machine, and the
  # installed package would carry them. torch_library brings headers, flags and all of libtorch.
  target_link_libraries(streamgate_torch INTERFACE torch_library)
  set(STREAMGATE_TORCH_VERSION "${Torch_VERSION}" PARENT_SCOPE)
  set(STREAMGATE_TORCH_PREFIX "${TORCH_INSTALL_PREFIX}" PARENT_SCOPE)
  message(STATUS "libtorch ${Torch_VERSION}: ${Torch_DIR}")
endfunction()
streamgate_find_torch()
install(TARGETS streamgate_torch EXPORT streamgate_targets)

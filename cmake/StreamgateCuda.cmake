# SPDX-License-Identifier: Apache-2.0
# Whether the libtorch in use has CUDA: its package then brings torch_cuda, and the CUDA toolkit that
# its headers need. The backend is plain C++, so nvcc compiles nothing here.
set(cuda_found OFF)
if(STREAMGATE_WITH_TORCH AND TARGET torch_cuda AND TARGET c10_cuda)
  set(cuda_found ON)
endif()
option(STREAMGATE_WITH_CUDA "Build the CUDA backend" ${cuda_found})
if(STREAMGATE_WITH_CUDA AND NOT cuda_found)
  message(FATAL_ERROR "STREAMGATE_WITH_CUDA is ON, but this libtorch has no CUDA. Remedy: "
    "STREAMGATE_WITH_CUDA=OFF, or a libtorch for CUDA by Torch_DIR")
endif()
message(STATUS "CUDA backend: ${STREAMGATE_WITH_CUDA}")

# Links TARGET with libtorch's CUDA, and with the CUDA runtime that libtorch itself is linked with.
function(streamgate_link_cuda target)
  if(TARGET torch::cudart)
    target_link_libraries(${target} PRIVATE torch::cudart)
  elseif(TARGET CUDA::cudart)
    target_link_libraries(${target} PRIVATE CUDA::cudart)
  endif()
  target_link_libraries(${target} PRIVATE torch_cuda c10_cuda)
endfunction()

# SPDX-License-Identifier: Apache-2.0
# Which tier of MPS streams the libtorch in use has (facts.md 1.3): found by compiling what the tier
# alone can, from the most particular to the most general. The programs are in mps_tiers/, where
# tests/mps/compile_against_real.sh finds them, too.
set(STREAMGATE_MPS_TIERS none single upstream_pool fork_a fork_b)  # As executor::MpsTier counts.

# Sets RESULT to the name of the tier.
function(streamgate_find_mps_tier result)
  if(NOT DEFINED STREAMGATE_MPS_TIER_FOUND)
    set(found none)
    include(CheckIncludeFileCXX)
    # libtorch's MPS needs Apple's dispatch queues; where they are missing, three slow programs need
    # not be tried.
    check_include_file_cxx(dispatch/dispatch.h STREAMGATE_HAS_DISPATCH)
    if(STREAMGATE_HAS_DISPATCH)
      foreach(tier IN ITEMS fork_a fork_b upstream_pool single)
        try_compile(compiled "${PROJECT_BINARY_DIR}/mps_tiers/${tier}"
          SOURCES "${PROJECT_SOURCE_DIR}/cmake/mps_tiers/${tier}.cc"
          LINK_LIBRARIES torch_library
          CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
        if(compiled)
          set(found ${tier})
          break()
        endif()
      endforeach()
    endif()
    set(STREAMGATE_MPS_TIER_FOUND ${found} CACHE INTERNAL "libtorch's tier of MPS streams")
  endif()
  set(${result} ${STREAMGATE_MPS_TIER_FOUND} PARENT_SCOPE)
endfunction()

set(mps_tier none)
if(STREAMGATE_WITH_TORCH)
  streamgate_find_mps_tier(mps_tier)
  message(STATUS "MPS streams of this libtorch: ${mps_tier}")
endif()
string(COMPARE NOTEQUAL "${mps_tier}" none mps_found)
option(STREAMGATE_WITH_MPS "Build the MPS backend" ${mps_found})
if(STREAMGATE_WITH_MPS AND NOT mps_found)
  message(FATAL_ERROR "STREAMGATE_WITH_MPS is ON, but this libtorch has no MPS that plain C++ can "
    "use, or the platform no <dispatch/dispatch.h>. Remedy: STREAMGATE_WITH_MPS=OFF, or a libtorch "
    "for macOS of 2.1 or later by Torch_DIR")
endif()
if(NOT STREAMGATE_WITH_MPS)
  set(mps_tier none)
endif()
list(FIND STREAMGATE_MPS_TIERS "${mps_tier}" STREAMGATE_MPS_TIER)

# SPDX-License-Identifier: Apache-2.0
# README quotes examples/quickstart.cc, from its first #include on, to the letter.
# cmake -DSOURCE=<top of the tree> -P quickstart_in_readme.cmake
file(READ "${SOURCE}/examples/quickstart.cc" example)
file(READ "${SOURCE}/README.md" readme)
string(FIND "${example}" "#include" begin)
string(SUBSTRING "${example}" ${begin} -1 code)
string(FIND "${readme}" "${code}" found)
if(found EQUAL -1)
  message(FATAL_ERROR "README.md does not quote examples/quickstart.cc as it is; copy it there anew")
endif()
string(REGEX MATCHALL "\n" lines "${code}")
list(LENGTH lines count)
if(count GREATER 60)
  message(FATAL_ERROR "examples/quickstart.cc has ${count} lines; a first example has under 60")
endif()

# SPDX-License-Identifier: Apache-2.0
# Lets spin search the whole state space of one model: cmake -DSPIN=.. -DCC=.. -DMODEL=x.pml
# -DFOLDER=.. -DDEFINES="-DA -DB" -DEXPECT=fine|assertion|stuck|not_forever -P check_model.cmake.
# `fine` wants no error in a finished search; the others want a counter-example of that kind, as a
# model that cannot go wrong proves nothing.
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
separate_arguments(defines UNIX_COMMAND "${DEFINES}")

# run(OUT command...): in the folder of this search.
function(run result)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${FOLDER}"
    OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}: ${code}\n${text}\n${errors}")
  endif()
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

# Liveness asks of a cycle in which all has not ended whether every thread goes on in it (-f).
set(build -O2 -w -DCOLLAPSE -DMEMLIM=3000 -DSAFETY)
set(search -m1000000)
if("-DLIVENESS" IN_LIST defines)
  set(build -O2 -w -DCOLLAPSE -DMEMLIM=3000 -DNFAIR=3)
  set(search -m1000000 -a -f)
endif()
run(ignored "${SPIN}" -a ${defines} "${MODEL}")
run(ignored "${CC}" ${build} -o pan pan.c)
run(found ./pan ${search})

set(expected_fine "errors: 0")
set(expected_assertion "assertion violated")
set(expected_stuck "invalid end state")
set(expected_not_forever "acceptance cycle")
string(FIND "${found}" "${expected_${EXPECT}}" at)
string(FIND "${found}" "Search not completed" cut)
if(at EQUAL -1 OR (EXPECT STREQUAL "fine" AND NOT cut EQUAL -1) OR found MATCHES "max search depth")
  message(FATAL_ERROR "expected '${expected_${EXPECT}}' with ${DEFINES}; spin found:\n${found}\n"
    "The counter-example, if any: ${SPIN} -t -p ${DEFINES} ${MODEL}, in ${FOLDER}")
endif()
file(REMOVE_RECURSE "${FOLDER}")

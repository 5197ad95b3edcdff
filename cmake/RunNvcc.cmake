# cmake -DLOG=<file> -P RunNvcc.cmake -- <nvcc> <argument>...
#
# Runs nvcc and keeps in LOG what ptxas tells of every kernel (registers, spills, notes), which scripts/check-kernels.ts
# reads. The rest of what nvcc says is shown.
set(command "")
set(found FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(found)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(found TRUE)
  endif()
endforeach()
execute_process(COMMAND ${command} -Xptxas -v ERROR_VARIABLE said RESULT_VARIABLE status)
file(WRITE "${LOG}" "${said}")
string(REGEX REPLACE "(ptxas info|    [0-9]+ bytes stack frame)[^\n]*\n" "" rest "${said}")
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${rest}")
elseif(NOT rest STREQUAL "")
  message("${rest}")
endif()

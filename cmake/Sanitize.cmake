# fovea_sanitize(<list>): compiles and links everything below with these sanitizers; a finding ends the program.
# An option of our own, because cmake-js overrides CMAKE_CXX_FLAGS. Little optimisation: with more, instrumented kernels take
# minutes to compile. Reports need source lines, -g1; all of -g would take a third longer.
function(fovea_sanitize sanitizers)
  if(NOT sanitizers)
    return()
  endif()
  list(JOIN sanitizers "," joined)
  set(flags -fsanitize=${joined} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_compile_options(${flags} -O1 -UNDEBUG -U_FORTIFY_SOURCE)
  add_link_options(${flags})
endfunction()

# fovea_add_instruction_set(<target> <name> SOURCES file... [OPTIONS flag...] [PROCESSOR flag])
# Compiles the kernel sources once more, with these flags and FOVEA_ISA=<name> (their namespace: fovea::cpu::<name>), and
# adds the objects to <target>.
#
# Products and sums are fused only where the source says so, so that a sequence gives the same bits wherever the compiler
# places its code; errno and floating-point traps are not observed. A loop over a short row stays one: a call of memset in
# its place takes longer.
#
# What a wrong address would do is AddressSanitizer's to say: UndefinedBehaviorSanitizer's questions about each of the unrolled
# loads take a third of the compiler's time. A set that cannot run here, as /proc/cpuinfo has no such PROCESSOR flag, has no
# sanitizers: they would take the most of it for nothing.
function(fovea_add_instruction_set target name)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "PROCESSOR" "SOURCES;OPTIONS")
  set(objects ${target}_${name})
  add_library(${objects} OBJECT ${arg_SOURCES})
  target_compile_definitions(${objects} PRIVATE FOVEA_ISA=${name})
  target_compile_options(${objects} PRIVATE $<$<NOT:$<BOOL:${FOVEA_SANITIZE}>>:-O3> -fno-math-errno -fno-trapping-math -ffp-contract=off
    $<$<CXX_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns> ${arg_OPTIONS})
  if("undefined" IN_LIST FOVEA_SANITIZE)
    target_compile_options(${objects} PRIVATE -fno-sanitize=null,object-size,pointer-overflow)
  endif()
  if(FOVEA_SANITIZE AND arg_PROCESSOR AND EXISTS /proc/cpuinfo)
    file(STRINGS /proc/cpuinfo runs REGEX " ${arg_PROCESSOR} ")
    if(NOT runs)
      target_compile_options(${objects} PRIVATE -fno-sanitize=all)
    endif()
  endif()
  target_include_directories(${objects} PRIVATE $<TARGET_PROPERTY:${target},INTERFACE_INCLUDE_DIRECTORIES>)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
endfunction()

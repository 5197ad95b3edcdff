# add_cuda_images(<target> ARCHS <80-real|90-real|80-virtual>... [PTX <80>] SOURCES k.cu...)
#
# Compiles each k.cu to one fat binary (machine code for -real architectures, PTX for -virtual ones) and makes <target>, an
# object library with `extern "C" const unsigned char fovea_image_k_begin[]` for each. Needs CUDAToolkit_NVCC_EXECUTABLE.
# With PTX, machine code for every architecture is made from PTX for that one, which takes a quarter less time: for sources
# that ask for nothing newer. Else each has PTX of its own.
# What ptxas tells of k.cu's kernels is kept beside its binary, in k.fatbin.log.
# They are compressed, unless they hold source lines: such are for the simulator, which reads their PTX at every start.
# A change of an included header compiles anew.
# Those that the build folder FOVEA_CUDA_IMAGES has are taken as they are: compiling all takes minutes.
function(add_cuda_images target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PTX" "ARCHS;SOURCES")
  set(gencode "")
  foreach(arch IN LISTS arg_ARCHS)
    if(NOT arch MATCHES "^([0-9]+[af]?)-(real|virtual)$")
      message(FATAL_ERROR "add_cuda_images: expected an architecture such as 80-real or 80-virtual, got '${arch}'")
    elseif(CMAKE_MATCH_2 STREQUAL "real")
      set(ptx ${CMAKE_MATCH_1})
      if(arg_PTX)
        set(ptx ${arg_PTX})
      endif()
      list(APPEND gencode -gencode arch=compute_${ptx},code=sm_${CMAKE_MATCH_1})
    else()
      list(APPEND gencode -gencode arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1})
    endif()
  endforeach()

  set(run_nvcc ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/RunNvcc.cmake)
  set(objects "")
  foreach(source IN LISTS arg_SOURCES)
    get_filename_component(name ${source} NAME_WE)
    set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/${name}.fatbin)
    file(RELATIVE_PATH place ${CMAKE_BINARY_DIR} ${fatbin})
    if(FOVEA_CUDA_IMAGES AND EXISTS ${FOVEA_CUDA_IMAGES}/${place})
      set(fatbin ${FOVEA_CUDA_IMAGES}/${place})
    else()
      add_custom_command(
        OUTPUT ${fatbin}
        COMMAND ${CMAKE_COMMAND} -DLOG=${fatbin}.log -P ${run_nvcc} --
                ${CUDAToolkit_NVCC_EXECUTABLE} -fatbin -std=c++20 -O3 --expt-relaxed-constexpr
                "$<IF:$<BOOL:${FOVEA_CUDA_LINE_INFO}>,-lineinfo;--compress-mode=none,--compress-mode=size>" ${gencode}
                "$<$<NOT:$<BOOL:${CMAKE_CROSSCOMPILING}>>:-ccbin;${CMAKE_CXX_COMPILER}>" -MD -MF ${fatbin}.d -MT ${fatbin} -o ${fatbin} ${CMAKE_CURRENT_SOURCE_DIR}/${source}
        DEPENDS ${source} ${run_nvcc}
        DEPFILE ${fatbin}.d
        COMMENT "nvcc ${source}"
        COMMAND_EXPAND_LISTS
        VERBATIM)
    endif()
    set(embed ${CMAKE_CURRENT_BINARY_DIR}/${name}_image.cpp)
    set(symbol fovea_image_${name}_begin)
    file(CONFIGURE OUTPUT ${embed} @ONLY CONTENT [=[
asm(".section .rodata\n.balign 64\n"
    ".globl @symbol@\n.hidden @symbol@\n@symbol@:\n.incbin \"@fatbin@\"\n.balign 64\n.previous\n");
]=])
    set_source_files_properties(${embed} PROPERTIES OBJECT_DEPENDS ${fatbin})
    list(APPEND objects ${embed})
  endforeach()
  add_library(${target} OBJECT ${objects})
endfunction()

# fovea_add_simulator(<root>): libfovea-cudasim.so, the stand-in CUDA driver for tests, in the build folder itself. Needs
# cuda.h; reads compressed fatbins when libzstd is there.
function(fovea_add_simulator root)
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    message(STATUS "fovea: no CUDA toolkit, so no simulator")
    return()
  endif()
  find_package(Threads REQUIRED)
  set(directory ${root}/native/simulator)
  file(GLOB sources CONFIGURE_DEPENDS ${directory}/*.cpp ${directory}/ptx/*.cpp ${directory}/exec/*.cpp
       ${directory}/async/*.cpp ${directory}/check/*.cpp ${directory}/driver/*.cpp)
  add_library(fovea-cudasim SHARED ${sources})
  target_include_directories(fovea-cudasim PRIVATE ${directory})
  target_include_directories(fovea-cudasim SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_features(fovea-cudasim PRIVATE cxx_std_20)
  set_target_properties(fovea-cudasim PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  # Registers hold bits of any type, so rows are read as what the instruction says; products and sums must not be fused.
  target_compile_options(fovea-cudasim PRIVATE -O3 -fno-strict-aliasing -ffp-contract=off -fno-math-errno
                         -fno-trapping-math -fvisibility=hidden -Wall -Wextra
                         $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)  # g++ 12 warns about std::string's own code
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    target_compile_options(fovea-cudasim PRIVATE -march=x86-64-v3)
  endif()
  set_source_files_properties(${directory}/exec/rounding.cpp TARGET_DIRECTORY fovea-cudasim
                              PROPERTIES COMPILE_OPTIONS "-frounding-math;-ftrapping-math")
  set_source_files_properties(${directory}/exec/matrix_products.cpp ${directory}/async/warpgroup_arithmetic.cpp
                              TARGET_DIRECTORY fovea-cudasim PROPERTIES COMPILE_OPTIONS "-ffp-contract=fast")
  target_link_libraries(fovea-cudasim PRIVATE Threads::Threads)
  find_path(FOVEA_ZSTD_INCLUDE zstd.h)
  find_library(FOVEA_ZSTD_LIBRARY zstd)
  if(FOVEA_ZSTD_INCLUDE AND FOVEA_ZSTD_LIBRARY)
    target_compile_definitions(fovea-cudasim PRIVATE FOVEA_SIMULATOR_ZSTD)
    target_include_directories(fovea-cudasim SYSTEM PRIVATE ${FOVEA_ZSTD_INCLUDE})
    target_link_libraries(fovea-cudasim PRIVATE ${FOVEA_ZSTD_LIBRARY})
  else()
    message(STATUS "fovea: no libzstd; the simulator reads only uncompressed fatbins (nvcc --compress-mode=none)")
  endif()
endfunction()

# fovea_add_simulator_tests(<root>): fovea-simulator-test, its own test program, beside it.
function(fovea_add_simulator_tests root)
  if(NOT TARGET fovea-cudasim)
    return()
  endif()
  find_package(CUDAToolkit QUIET)  # its variables end with the function that asked for them
  file(GLOB tests CONFIGURE_DEPENDS ${root}/test/simulator/*.cpp)
  add_executable(fovea-simulator-test ${tests})
  target_include_directories(fovea-simulator-test SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_features(fovea-simulator-test PRIVATE cxx_std_20)
  set_target_properties(fovea-simulator-test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_compile_definitions(fovea-simulator-test PRIVATE FOVEA_SIMULATOR_LIBRARY="$<TARGET_FILE:fovea-cudasim>")
  target_compile_options(fovea-simulator-test PRIVATE -O1 -Wall -Wextra $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
  target_link_libraries(fovea-simulator-test PRIVATE ${CMAKE_DL_LIBS})
  add_dependencies(fovea-simulator-test fovea-cudasim)
endfunction()

# fovea_add_addon(<name> file...): a Node-API module, <build folder>/<configuration>/<name>.node.
# cmake-js says where the headers are (CMAKE_JS_*); without it node is asked.
function(fovea_add_addon name)
  set(includes ${CMAKE_JS_INC})
  if(NOT includes)
    execute_process(
      COMMAND node -p "const folder = (name) => path.dirname(require.resolve(name + '/package.json')); \
folder('node-api-headers') + '/include;' + folder('node-addon-api')"
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      OUTPUT_VARIABLE includes
      OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  endif()

  add_library(${name} MODULE ${ARGN} ${CMAKE_JS_SRC})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".node"
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/$<CONFIG>)
  target_include_directories(${name} SYSTEM PRIVATE ${includes})
  target_link_libraries(${name} PRIVATE ${CMAKE_JS_LIB})
  # Without the last one, an error in an environment that is being terminated, where nothing can be thrown any more, would
  # end the process.
  target_compile_definitions(${name} PRIVATE
    NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS NODE_ADDON_API_DISABLE_DEPRECATED
    NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
  # Node unloads an addon when the last environment that loaded it ends, but the thread pool lives as long as the process:
  # nodelete keeps its code mapped.
  target_link_options(${name} PRIVATE
    $<$<PLATFORM_ID:Linux>:LINKER:-z,nodelete>
    $<$<PLATFORM_ID:Darwin>:LINKER:-undefined,dynamic_lookup>)
endfunction()

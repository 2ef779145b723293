# libaqmtrain: the API of include/aqmtrain/aqmtrain.h over whatever of the rooms it needs. In both forms only the API's
# symbols can be seen from outside: the rooms are compiled with hidden visibility.

set(aqm_soversion ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}) # until 1.0 a minor version may break programs

if(NOT AQM_PORTABLE) # archives of dependencies need not be position-independent
  add_library(aqmtrain_shared SHARED $<TARGET_OBJECTS:aqm_lib>)
  target_link_libraries(aqmtrain_shared PRIVATE aqm_lib)
  set_target_properties(aqmtrain_shared PROPERTIES OUTPUT_NAME aqmtrain LINKER_LANGUAGE C
    VERSION ${PROJECT_VERSION} SOVERSION ${aqm_soversion} INSTALL_RPATH_USE_LINK_PATH ON
    LINK_DEPENDS ${CMAKE_SOURCE_DIR}/src/lib/aqmtrain.map)
  target_link_options(aqmtrain_shared PRIVATE "LINKER:--as-needed" "LINKER:--version-script=${CMAKE_SOURCE_DIR}/src/lib/aqmtrain.map")
  if(NOT AQM_SANITIZE)
    target_link_options(aqmtrain_shared PRIVATE "LINKER:-z,defs")
  endif()
  install(TARGETS aqmtrain_shared)
endif()

# The static library is one object, linked from what is needed of the rooms, with all else made local: its names cannot collide
# with the program's.
set(rooms)
foreach(room IN ITEMS distill eval train sim policy model compute gguf pool config ranks base)
  get_target_property(type aqm_${room} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    list(APPEND rooms aqm_${room})
  endif()
endforeach()
set(archives ${rooms})
list(TRANSFORM archives REPLACE "(.+)" "$<TARGET_FILE:\\1>")
set(aqm_static_library ${CMAKE_BINARY_DIR}/libaqmtrain.a)
add_custom_command(OUTPUT ${aqm_static_library}
  COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o aqmtrain-all.o $<TARGET_OBJECTS:aqm_lib>
          -Wl,--start-group ${archives} -Wl,--end-group
  COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=aqm_version --keep-global-symbol=aqm_error_message
          --keep-global-symbol=aqm_controller_* aqmtrain-all.o aqmtrain-api.o
  COMMAND ${CMAKE_COMMAND} -E rm -f ${aqm_static_library}
  COMMAND ${CMAKE_AR} qcs ${aqm_static_library} aqmtrain-api.o
  DEPENDS aqm_lib $<TARGET_OBJECTS:aqm_lib> ${rooms}
  WORKING_DIRECTORY ${CMAKE_BINARY_DIR} COMMAND_EXPAND_LISTS VERBATIM
  COMMENT "Linking static library libaqmtrain.a")
add_custom_target(aqmtrain_static ALL DEPENDS ${aqm_static_library})
install(FILES ${aqm_static_library} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/aqmtrain/aqmtrain.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/aqmtrain)

# aqmtrain.pc finds its tree from where it lies. What the static library needs is named in full, as it was found here.
file(RELATIVE_PATH aqm_prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" aqm_prefix_from_pc "${aqm_prefix_from_pc}")
get_filename_component(openblas_folder ${AQM_OPENBLAS_LIBRARY} DIRECTORY)
set(aqm_private_libraries "-L${openblas_folder} -lopenblas -lbz2 ${OpenMP_C_FLAGS} -lpthread -ldl -lm")
if(AQM_HAVE_CUDA)
  string(APPEND aqm_private_libraries " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lrt")
endif()
configure_file(cmake/aqmtrain.pc.in aqmtrain.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/aqmtrain.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

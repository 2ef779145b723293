# aqm::openblas: the OpenMP variant of OpenBLAS, so that its threads and ours are one pool. Debian and Ubuntu keep the
# variants side by side and link to one of them by an alternative, which may be the pthread one: name the folder.
# Elsewhere pkg-config says how OpenBLAS was built.

set(arch ${CMAKE_LIBRARY_ARCHITECTURE})
if(NOT arch)
  execute_process(COMMAND ${CMAKE_C_COMPILER} -print-multiarch OUTPUT_VARIABLE arch OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
if(AQM_PORTABLE)
  set(names libopenblas.a)
else()
  set(names libopenblas.so)
endif()
find_path(AQM_OPENBLAS_INCLUDE cblas.h PATHS /usr/include/${arch}/openblas-openmp NO_DEFAULT_PATH)
find_library(AQM_OPENBLAS_LIBRARY_${names} NAMES ${names} PATHS /usr/lib/${arch}/openblas-openmp NO_DEFAULT_PATH)
set(library ${AQM_OPENBLAS_LIBRARY_${names}})

if(NOT AQM_OPENBLAS_INCLUDE OR NOT library)
  pkg_check_modules(openblas_pc openblas)
  pkg_get_variable(openblas_built openblas openblas_config)
  if(NOT openblas_pc_FOUND OR NOT openblas_built MATCHES "USE_OPENMP=1")
    message(FATAL_ERROR "the OpenMP variant of OpenBLAS is missing (Debian, Ubuntu: libopenblas-openmp-dev); "
                        "with another variant its threads and ours would fight over the cores")
  endif()
  find_library(AQM_OPENBLAS_LIBRARY_${names} NAMES ${names} PATHS ${openblas_pc_LIBDIR} ${openblas_pc_LIBRARY_DIRS} REQUIRED)
  set(library ${AQM_OPENBLAS_LIBRARY_${names}})
  set(AQM_OPENBLAS_INCLUDE ${openblas_pc_INCLUDE_DIRS} CACHE PATH "Folder of cblas.h" FORCE)
endif()
message(STATUS "OpenBLAS (OpenMP): ${library}")
set(AQM_OPENBLAS_LIBRARY ${library})

add_library(aqm_dep_openblas INTERFACE)
target_include_directories(aqm_dep_openblas SYSTEM INTERFACE ${AQM_OPENBLAS_INCLUDE})
target_link_libraries(aqm_dep_openblas INTERFACE ${library})
add_library(aqm::openblas ALIAS aqm_dep_openblas)

# The CUDA column of the ops table (src/compute/cuda/), where there is a CUDA compiler: aqm_cuda_objects, added to the room
# compute. cudart is linked statically and cublasLt is loaded when a GPU is opened, so the program starts without either.

set(AQM_CUDA AUTO CACHE STRING "Build for NVIDIA GPUs: AUTO, ON or OFF")
set_property(CACHE AQM_CUDA PROPERTY STRINGS AUTO ON OFF)
set(AQM_HAVE_CUDA OFF)

if(AQM_CUDA STREQUAL "AUTO" AND (AQM_SANITIZE OR AQM_COVERAGE OR AQM_FUZZ))
  message(STATUS "CUDA: not with sanitizers, coverage or fuzzing")
elseif(AQM_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90) # machine code for Hopper, and PTX that newer GPUs compile
    endif()
    enable_language(CUDA)
    set(CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES "") # no C++ library, no second cudart
    find_package(CUDAToolkit 12)
  endif()
  if(CMAKE_CUDA_COMPILER AND CUDAToolkit_FOUND)
    set(AQM_HAVE_CUDA ON)
  elseif(NOT AQM_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "AQM_CUDA=${AQM_CUDA}, but no CUDA compiler of version 12 or newer was found")
  endif()
  message(STATUS "CUDA: ${AQM_HAVE_CUDA} ${CUDAToolkit_VERSION}")
endif()

if(AQM_HAVE_CUDA)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/compute/cuda/*.cu)
  add_library(aqm_cuda_objects OBJECT ${cuda_sources})
  target_include_directories(aqm_cuda_objects PRIVATE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  target_compile_features(aqm_cuda_objects PRIVATE cuda_std_17)
  target_compile_options(aqm_cuda_objects PRIVATE
    "SHELL:-Xcompiler -Wall,-Wextra,-Wno-missing-field-initializers,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics")
  target_compile_definitions(aqm_cuda_objects PRIVATE AQM_CUDA_LIBRARIES="${CUDAToolkit_LIBRARY_DIR}")
endif()

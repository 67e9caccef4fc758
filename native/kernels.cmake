# weft_kernels: the part of the engine that knows neither models nor Python.

find_package(Threads REQUIRED)

set(SOURCES arena.cpp cache.cpp choose.cpp isa_portable.cpp mapped.cpp pool.cpp)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND SOURCES isa_avx2.cpp isa_avx512.cpp)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/src/isa_avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/src/isa_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mavx512bf16;-mfma;-mavx2")
endif()
list(TRANSFORM SOURCES PREPEND ${CMAKE_CURRENT_LIST_DIR}/src/)

add_library(weft_kernels STATIC ${SOURCES})
target_include_directories(weft_kernels PUBLIC ${CMAKE_CURRENT_LIST_DIR}/src)
target_compile_options(weft_kernels PUBLIC -Wall -Wextra -Wno-uninitialized -Wno-ignored-attributes
  -fno-math-errno $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_definitions(weft_kernels PUBLIC WEFT_X86)
endif()
target_link_libraries(weft_kernels PUBLIC Threads::Threads)

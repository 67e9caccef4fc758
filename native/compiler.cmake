# A compiler that can build the engine, or a message that says what to do.

string(CONCAT WITHOUT_ENGINE
  "Or install weft without its engine, to run on PyTorch:\n"
  "  pip install \".[torch]\" -C cmake.define.WEFT_NATIVE=OFF")

include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
  message(FATAL_ERROR
    "weft's native engine is written in C++20, and this machine has no C++ compiler.\n"
    "Install one:\n"
    "  Debian, Ubuntu: apt install g++\n"
    "  Fedora: dnf install gcc-c++\n"
    "  macOS: xcode-select --install\n"
    "${WITHOUT_ENGINE}")
endif()
enable_language(CXX)

set(LEAST_GNU 11)
set(LEAST_Clang 14)
set(LEAST_AppleClang 15)
if(NOT DEFINED LEAST_${CMAKE_CXX_COMPILER_ID} OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS LEAST_${CMAKE_CXX_COMPILER_ID})
  message(FATAL_ERROR
    "weft's native engine builds with GCC 11, Clang 14, Xcode 15 or newer, not with ${CMAKE_CXX_COMPILER_ID} "
    "${CMAKE_CXX_COMPILER_VERSION} (${CMAKE_CXX_COMPILER}).\n"
    "Name another compiler by CXX=... before the same command.\n"
    "${WITHOUT_ENGINE}")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O3")
set(CMAKE_CXX_FLAGS_QUICK "-O1") # to build
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all")
set(CMAKE_CXX_FLAGS_THREAD "-O1 -g1 -fsanitize=thread")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

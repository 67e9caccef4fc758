#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace weft {

namespace {

bool runs(const Kernels& kernels) {
#if defined(WEFT_X86)
  if (&kernels == &kAvx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512bf16");
  if (&kernels == &kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return &kernels == &kPortable;
}

const Kernels& find(const std::string& name) {
  for (const Kernels* kernels : {
#if defined(WEFT_X86)
           &kAvx512, &kAvx2,
#endif
           &kPortable})
    if (runs(*kernels) && (name.empty() || name == kernels->name)) return *kernels;
  throw std::runtime_error("WEFT_ISA=" + name + ": this machine has no such kernels; use portable, avx2 or avx512, or leave it out");
}

} // namespace

const Kernels& choose_kernels() {
  const char* name = std::getenv("WEFT_ISA");
  return find(name ? name : "");
}

} // namespace weft

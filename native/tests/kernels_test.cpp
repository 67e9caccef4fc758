// Every kernel of one instruction set against naive loops in double precision. Takes the name of an instruction set; exits with
// 77 where the machine lacks it.

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "check.h"

namespace weft {

double activation(Activation a, double x) {
  switch (a) {
  case Activation::relu: return x > 0 ? x : 0;
  case Activation::gelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
  case Activation::silu: return x / (1 + std::exp(-x));
  case Activation::tanh: return std::tanh(x);
  case Activation::none: break;
  }
  return x;
}

float rounded(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
  std::memcpy(&x, &u, 4);
  return x;
}

} // namespace weft

int main(int argc, char** argv) {
  if (argc != 2) {
    std::printf("usage: kernels_test portable|avx2|avx512\n");
    return 2;
  }
  setenv("WEFT_ISA", argv[1], 1);
  const weft::Kernels* kernels;
  try {
    kernels = &weft::choose_kernels();
  } catch (const std::runtime_error& error) {
    std::printf("%s\n", error.what());
    return 77;
  }
  weft::test_products(*kernels);
  weft::test_rows(*kernels);
  weft::test_attention(*kernels);
  std::printf("%s: %d failures\n", kernels->name, weft::failures);
  return weft::failures ? 1 : 0;
}

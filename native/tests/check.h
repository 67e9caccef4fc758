// Random numbers, and checks that print what was wrong and go on.

#pragma once

#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"

namespace weft {

inline int failures = 0;

inline void fail(const std::string& what) {
  if (++failures <= 20) std::printf("FAILED %s\n", what.c_str());
}

inline void check(bool holds, const std::string& what) {
  if (!holds) fail(what);
}

inline void near(double found, double expected, double tolerance, const std::string& what) {
  if (!(std::fabs(found - expected) <= tolerance))
    fail(what + ": " + std::to_string(found) + " instead of " + std::to_string(expected) + " +- " + std::to_string(tolerance));
}

// The same numbers on every machine.
class Chance {
public:
  int below(int n) { return static_cast<int>(engine_() % static_cast<unsigned>(n)); }
  bool coin() { return below(2); }
  float number(float scale = 1) { return scale * (static_cast<float>(engine_() >> 8) / (1 << 23) - 1); } // [-scale, scale)
  std::vector<float> numbers(std::size_t n, float scale = 1) {
    std::vector<float> found(n);
    for (float& x : found) x = number(scale);
    return found;
  }

private:
  std::mt19937 engine_{7};
};

double activation(Activation a, double x);
float rounded(float x); // to bfloat16

void test_products(const Kernels& kernels);
void test_rows(const Kernels& kernels);
void test_attention(const Kernels& kernels);

} // namespace weft

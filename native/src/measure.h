// How fast this machine is at the two things that a model's steps are made of: reading weights and multiplying them.

#pragma once

#include <cstddef>
#include <vector>

#include "kernels.h"

namespace weft {

// Seconds of passes over a buffer, and what a pass does: bytes read, or operations (a multiplication and an addition are two).
struct Passes {
  double each = 0;
  std::vector<double> seconds;
};

// Every thread reads its share of `bytes`, again and again until `seconds` have gone by.
Passes read_passes(std::size_t bytes, int threads, double seconds);

// Products of a precision's kernels, as large as keep them busy and as small as caches hold.
Passes product_passes(Precision precision, int threads, double seconds);

} // namespace weft

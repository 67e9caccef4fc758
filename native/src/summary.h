// What the stages of one step made of its scores: the numbers that a trace of decoding keeps of a whole vocabulary.

#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace weft {

// Of R rows after S stages, as weft.spec.decoding_trace.Step says.
struct Summary {
  std::size_t width = 0;                // C
  std::vector<std::int64_t> candidates; // [R, C], -1 behind the last of a row
  std::vector<float> scores;            // [S, R, C]
  std::vector<double> log_sums;         // [S, R]
  std::vector<std::int64_t> removed;    // [S, R]
  std::vector<double> removed_mass;     // [S, R]
};

// stages: scores [rows, columns] each, one stage or more. Candidates are the k likeliest of the first stage, those of the last
// that it leaves, and what else is chosen of each row; each once.
Summary summarise(const Kernels& kernels, const std::vector<const float*>& stages, int columns, int k,
                  const std::vector<std::vector<std::int64_t>>& chosen);

} // namespace weft

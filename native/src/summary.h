// What the stages of one step made of its scores: the numbers that a trace of decoding keeps of a whole vocabulary.

#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace weft {

// Scores of R rows, [R, V] each: the model's, which ids may not be chosen, and what each processor made of the rest.
struct Stages {
  const float* model;
  std::vector<std::int32_t> banned; // rising, each once
  std::vector<const float*> processed;
  std::size_t rows, columns;

  std::size_t count() const { return 1 + !banned.empty() + processed.size(); }
};

// Of R rows after S stages, as weft.spec.decoding_trace.Step says.
struct Summary {
  std::size_t width = 0;                // C
  std::vector<std::int64_t> candidates; // [R, C], -1 behind the last of a row
  std::vector<float> scores;            // [S, R, C]
  std::vector<double> totals;           // [3, S, R]: log_sums, removed, removed_mass
};

// Candidates of a row are the k likeliest of the model, those that the last stage leaves, and `chosen` ones; each once.
Summary summarise(const Kernels& kernels, const Stages& stages, int k, const std::vector<std::vector<std::int64_t>>& chosen);

} // namespace weft

#include "summary.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace weft {

namespace {

constexpr int kChunk = 512; // scores that are looked through together
constexpr float kNothing = -std::numeric_limits<float>::infinity();

// A sum of exp(score - highest) over a row.
struct Total {
  float highest = kNothing;
  double sum = 0;
  double log() const { return highest > kNothing ? highest + std::log(sum) : kNothing; }
};

Total scan(const Kernels& kernels, const float* scores, int columns, Best& best) {
  Total total;
  for (int first = 0; first < columns; first += kChunk) {
    float top, sum;
    kernels.scan(scores + first, std::min(kChunk, columns - first), first, best, top, sum);
    if (!(top > kNothing)) continue;
    if (top > total.highest) {
      total.sum *= std::exp(static_cast<double>(total.highest) - top);
      total.highest = top;
    }
    total.sum += sum * std::exp(static_cast<double>(top) - total.highest);
  }
  return total;
}

// The scores that a stage set to -infinity, others as if they were nothing; returns how many.
int find_removed(const float* before, const float* after, int columns, float* removed) {
  int count = 0;
  for (int i = 0; i < columns; i++) {
    const bool gone = after[i] == kNothing && before[i] != kNothing;
    removed[i] = gone ? before[i] : kNothing;
    count += gone;
  }
  return count;
}

} // namespace

Summary summarise(const Kernels& kernels, const std::vector<const float*>& stages, int columns, int k,
                  const std::vector<std::vector<std::int64_t>>& chosen) {
  const std::size_t rows = chosen.size(), count = stages.size();
  Summary found;
  found.log_sums.resize(count * rows);
  found.removed.resize(count * rows);
  found.removed_mass.resize(count * rows);
  std::vector<std::vector<std::int64_t>> listed(rows);
  std::vector<std::size_t> taken(columns); // 1 + the row that a token is listed for
  std::vector<float> values(k), removed(columns);
  std::vector<std::int32_t> ids(k);
  for (std::size_t row = 0; row < rows; row++) {
    const auto list = [&](std::int64_t token) {
      if (taken[token] == row + 1) return;
      taken[token] = row + 1;
      listed[row].push_back(token);
    };
    Total before;
    for (std::size_t stage = 0; stage < count; stage++) {
      const float* scores = stages[stage] + row * columns;
      const std::size_t at = stage * rows + row;
      if (stage) {
        const float* last = stages[stage - 1] + row * columns;
        found.removed[at] = find_removed(last, scores, columns, removed.data());
        Best any{1, 0, values.data(), ids.data()};
        const Total gone = found.removed[at] ? scan(kernels, removed.data(), columns, any) : Total{};
        found.removed_mass[at] = gone.sum * std::exp(static_cast<double>(gone.highest) - before.highest) / before.sum;
      }
      const bool listing = stage == 0 || stage + 1 == count;
      Best best{listing ? k : 1, 0, values.data(), ids.data()};
      before = scan(kernels, scores, columns, best);
      found.log_sums[at] = before.log();
      for (int i = 0; listing && i < best.found; i++)
        if (stage == 0 || values[i] > kNothing) list(ids[i]);
    }
    for (const std::int64_t token : chosen[row]) list(token);
    found.width = std::max(found.width, listed[row].size());
  }
  found.candidates.assign(rows * found.width, -1);
  found.scores.assign(count * rows * found.width, kNothing);
  for (std::size_t row = 0; row < rows; row++)
    for (std::size_t i = 0; i < listed[row].size(); i++) {
      const std::int64_t token = listed[row][i];
      found.candidates[row * found.width + i] = token;
      for (std::size_t stage = 0; stage < count; stage++)
        found.scores[(stage * rows + row) * found.width + i] = stages[stage][row * columns + token];
    }
  return found;
}

} // namespace weft

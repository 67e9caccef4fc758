#include "summary.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace weft {

namespace {

constexpr int kChunk = 512; // scores that are looked through together
constexpr float kNothing = -std::numeric_limits<float>::infinity();

// A sum of exp(score - highest).
struct Total {
  float highest = kNothing;
  double sum = 0;
  double log() const { return highest > kNothing ? highest + std::log(sum) : kNothing; }
};

// Scores that a stage set to -infinity, and how many they are.
struct Removed {
  int count = 0;
  Total total;
};

class Summariser {
public:
  Summariser(const Kernels& kernels, const Stages& stages, int k)
      : kernels_(kernels), stages_(stages), columns_(static_cast<int>(stages.columns)), is_listed_(stages.columns), values_(k),
        ids_(k) {
    found.totals.resize(3 * stages.count() * stages.rows);
    listed_.resize(stages.rows);
  }

  void read(std::size_t row, const std::vector<std::int64_t>& chosen) {
    row_ = row;
    stage_ = 0;
    const float* scores = stages_.model + row * stages_.columns;
    Total total = look(scores, true);
    put({}, {}, total);
    if (!stages_.banned.empty()) scores = ban(scores, total);
    for (const float* all : stages_.processed) {
      const float* after = all + row * stages_.columns;
      const Removed gone = removed(scores, after);
      const Total before = total;
      scores = after;
      total = look(scores, all == stages_.processed.back());
      put(gone, before, total);
    }
    for (const std::int64_t token : chosen) list(token);
    for (const std::int64_t token : listed_[row]) is_listed_[token] = false;
    found.width = std::max(found.width, listed_[row].size());
  }

  void show_candidates() {
    const std::size_t rows = stages_.rows, width = found.width;
    found.candidates.assign(rows * width, -1);
    found.scores.assign(stages_.count() * rows * width, kNothing);
    for (std::size_t row = 0; row < rows; row++)
      for (std::size_t i = 0; i < listed_[row].size(); i++) {
        const std::int64_t token = listed_[row][i];
        found.candidates[row * width + i] = token;
        float* score = found.scores.data() + row * width + i;
        *score = stages_.model[row * stages_.columns + token];
        if (!stages_.banned.empty()) {
          score[rows * width] = is_banned(token) ? kNothing : *score;
          score += rows * width;
        }
        for (const float* all : stages_.processed) *(score += rows * width) = all[row * stages_.columns + token];
      }
  }

  Summary found;

private:
  bool is_banned(std::int64_t token) const { return std::binary_search(stages_.banned.begin(), stages_.banned.end(), token); }

  void list(std::int64_t token) {
    if (is_listed_[token]) return;
    is_listed_[token] = true;
    listed_[row_].push_back(token);
  }

  // Of all scores of a row. listing: the likeliest become candidates, as far as the model or the last stage leaves them.
  Total look(const float* scores, bool listing) {
    Best best{listing ? static_cast<int>(values_.size()) : 1, 0, values_.data(), ids_.data()};
    Total total;
    for (int first = 0; first < columns_; first += kChunk) {
      float top, sum;
      kernels_.scan(scores + first, std::min(kChunk, columns_ - first), first, best, top, sum);
      if (!(top > kNothing)) continue;
      if (top > total.highest) {
        total.sum *= std::exp(static_cast<double>(total.highest) - top);
        total.highest = top;
      }
      total.sum += sum * std::exp(static_cast<double>(top) - total.highest);
    }
    for (int i = 0; listing && i < best.found; i++)
      if (stage_ == 0 || values_[i] > kNothing) list(ids_[i]);
    return total;
  }

  // The stage of the bans. Returns the scores after it, and changes their total.
  const float* ban(const float* scores, Total& total) {
    Removed gone{0, {total.highest, 0}};
    bool was_listed = false;
    for (const std::int32_t id : stages_.banned) {
      was_listed |= is_listed_[id];
      if (scores[id] == kNothing) continue;
      gone.count++;
      gone.total.sum += std::exp(static_cast<double>(scores[id]) - total.highest);
    }
    const Total before = total;
    const bool known = !was_listed && gone.total.sum < before.sum / 2; // what is left over, without loss of digits
    if (!known || !stages_.processed.empty()) {
      allowed_.assign(scores, scores + columns_);
      for (const std::int32_t id : stages_.banned) allowed_[id] = kNothing;
      scores = allowed_.data();
    }
    if (known) total.sum -= gone.total.sum;
    else total = look(scores, stages_.processed.empty());
    put(gone, before, total);
    return scores;
  }

  Removed removed(const float* before, const float* after) {
    removed_.resize(columns_);
    int count = 0;
    for (int i = 0; i < columns_; i++) {
      const bool gone = after[i] == kNothing && before[i] != kNothing;
      removed_[i] = gone ? before[i] : kNothing;
      count += gone;
    }
    return {count, count ? look(removed_.data(), false) : Total{}};
  }

  // The numbers of the next stage.
  void put(const Removed& gone, const Total& before, const Total& after) {
    const std::size_t each = stages_.count() * stages_.rows;
    double* own = found.totals.data() + stage_ * stages_.rows + row_;
    own[0] = after.log();
    own[each] = gone.count;
    if (stage_++) own[2 * each] = gone.total.sum * std::exp(static_cast<double>(gone.total.highest) - before.highest) / before.sum;
  }

  const Kernels& kernels_;
  const Stages& stages_;
  int columns_;
  std::size_t row_ = 0, stage_ = 0;
  std::vector<std::vector<std::int64_t>> listed_; // of each row
  std::vector<bool> is_listed_;                   // of the row
  std::vector<float> values_;
  std::vector<std::int32_t> ids_;
  std::vector<float> allowed_, removed_;
};

} // namespace

Summary summarise(const Kernels& kernels, const Stages& stages, int k, const std::vector<std::vector<std::int64_t>>& chosen) {
  Summariser summariser(kernels, stages, k);
  for (std::size_t row = 0; row < stages.rows; row++) summariser.read(row, chosen[row]);
  summariser.show_candidates();
  return std::move(summariser.found);
}

} // namespace weft

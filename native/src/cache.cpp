#include "cache.h"

#include <algorithm>
#include <new>

namespace weft {

Floats allocate(std::size_t count) {
  auto* p = static_cast<float*>(::operator new[](std::max<std::size_t>(count, 16) * sizeof(float), std::align_val_t{64}));
  std::fill(p, p + count, 0.0f);
  return Floats(p);
}

int Cache::add(int position) {
  if (count_ == static_cast<int>(blocks_.size()) * kBlock) {
    blocks_.push_back(allocate(shape_.block()));
    positions_.resize(positions_.size() + kBlock, -1);
  }
  positions_[count_] = position;
  return count_++;
}

void Cache::shrink(int count) {
  std::fill(positions_.begin() + count, positions_.begin() + count_, -1);
  count_ = count;
}

void Cache::put(int slot, int layer, const float* keys, const float* values) {
  const int wide = padded(shape_.size, kBlock), place = slot % kBlock;
  float* head = blocks_[slot / kBlock].get() + static_cast<std::size_t>(layer) * shape_.heads * shape_.head();
  for (int h = 0; h < shape_.heads; h++, head += shape_.head()) {
    for (int e = 0; e < shape_.size; e++) head[e * kBlock + place] = keys[h * shape_.size + e];
    std::copy(values + h * shape_.size, values + (h + 1) * shape_.size, head + shape_.keys() + place * wide);
  }
}

} // namespace weft

// Keys and values of what was read, in blocks of kBlock positions that are allocated as a text grows and never move.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"

namespace weft {

// The shape of a cache: that of every block.
struct CacheShape {
  int layers = 0, heads = 0, size = 0; // key/value heads, and their size

  std::size_t keys() const { return static_cast<std::size_t>(size) * kBlock; }                   // floats of a head's block
  std::size_t values() const { return static_cast<std::size_t>(padded(size, kBlock)) * kBlock; } // likewise
  std::size_t head() const { return keys() + values(); }
  std::size_t block() const { return head() * heads * layers; }
};

struct Free {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Floats = std::unique_ptr<float[], Free>;
Floats allocate(std::size_t count);

// The positions of one text.
class Cache {
public:
  explicit Cache(CacheShape shape) : shape_(shape) {}

  const CacheShape& shape() const { return shape_; }
  int count() const { return count_; }
  int blocks() const { return (count_ + kBlock - 1) / kBlock; }

  // A new slot for the token at `position`; returns its number.
  int add(int position);
  // Forget slots from `count` on.
  void shrink(int count);
  void put(int slot, int layer, const float* keys, const float* values);

  const float* keys(int block, int layer, int head) const {
    return blocks_[block].get() + (static_cast<std::size_t>(layer) * shape_.heads + head) * shape_.head();
  }
  const float* values(int block, int layer, int head) const { return keys(block, layer, head) + shape_.keys(); }
  const std::int32_t* positions() const { return positions_.data(); }

private:
  CacheShape shape_;
  int count_ = 0;
  std::vector<Floats> blocks_;
  std::vector<std::int32_t> positions_; // [blocks * kBlock], -1 where there is nothing
};

} // namespace weft

// Keys and values of what was read, in blocks of kBlock positions that are allocated as a text grows and never move.

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "arena.h"
#include "kernels.h"

namespace weft {

// The shape of a cache: that of every block.
struct CacheShape {
  int layers = 0, heads = 0, size = 0; // key/value heads, and their size
  bool narrow = false;                 // bfloat16

  bool operator==(const CacheShape&) const = default;

  std::size_t number() const { return narrow ? 2 : 4; }
  std::size_t keys() const { return padded(size, kBlock) * kBlock * number(); } // bytes of a head's block
  std::size_t values() const { return keys(); }
  std::size_t head() const { return keys() + values(); }
  std::size_t block() const { return head() * heads * layers; }
};

// Blocks of one shape that nobody uses, for the next who asks: fresh memory costs more than a step of decoding.
class Blocks {
public:
  explicit Blocks(CacheShape shape) : shape_(shape) {}
  const CacheShape& shape() const { return shape_; }
  std::byte* take();
  void give(std::byte* block);

private:
  CacheShape shape_;
  std::mutex lock_;
  Arena arena_;
  std::vector<std::byte*> free_;
};

// The positions of one text.
class Cache {
public:
  explicit Cache(std::shared_ptr<Blocks> pool) : pool_(std::move(pool)), shape_(pool_->shape()) {}
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  const CacheShape& shape() const { return shape_; }
  bool narrow() const { return shape_.narrow; }
  int count() const { return count_; }
  int blocks() const { return (count_ + kBlock - 1) / kBlock; }

  // A new slot for the token at `position`; returns its number.
  int add(int position);
  // Slots whose bit is not set may be used again. seen: [blocks].
  void keep(const std::vector<std::uint16_t>& seen);
  // Forget slots from `count` on.
  void shrink(int count);
  std::byte* keys(int block, int layer, int head) const {
    return blocks_[block] + (static_cast<std::size_t>(layer) * shape_.heads + head) * shape_.head();
  }
  std::byte* values(int block, int layer, int head) const { return keys(block, layer, head) + shape_.keys(); }
  const std::int32_t* positions() const { return positions_.data(); }

private:
  std::shared_ptr<Blocks> pool_;
  CacheShape shape_;
  int count_ = 0;
  std::vector<std::byte*> blocks_;
  std::vector<std::int32_t> positions_; // [blocks * kBlock], -1 where there is nothing
  std::vector<int> free_;               // slots below count_ that nobody sees, falling
};

} // namespace weft

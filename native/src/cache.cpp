#include "cache.h"

#include <algorithm>

namespace weft {

std::byte* Blocks::take() {
  std::lock_guard lock(lock_);
  if (free_.empty()) return arena_.take(shape_.block());
  std::byte* block = free_.back();
  free_.pop_back();
  return block;
}

void Blocks::give(std::byte* block) {
  std::lock_guard lock(lock_);
  free_.push_back(block);
}

Cache::~Cache() {
  for (std::byte* block : blocks_) pool_->give(block);
}

void Cache::keep(const std::vector<std::uint16_t>& seen) {
  free_.clear();
  for (int slot = count_ - 1; slot >= 0; slot--)
    if (!(seen[slot / kBlock] >> slot % kBlock & 1)) free_.push_back(slot);
}

int Cache::add(int position) {
  if (!free_.empty()) {
    const int slot = free_.back();
    free_.pop_back();
    positions_[slot] = position;
    return slot;
  }
  if (count_ == static_cast<int>(blocks_.size()) * kBlock) {
    positions_.resize((blocks_.size() + 1) * kBlock, -1);
    blocks_.push_back(pool_->take());
  }
  positions_[count_] = position;
  return count_++;
}

void Cache::shrink(int count) {
  free_.clear();
  std::fill(positions_.begin() + count, positions_.begin() + count_, -1);
  count_ = count;
}

} // namespace weft

#include "arena.h"

#include <algorithm>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <sys/mman.h>

namespace weft {

namespace {

constexpr std::size_t kHuge = 2 << 20, kPage = 4096;
constexpr std::size_t kLeast = 64 << 10, kMost = 32 << 20; // of a part; each is twice the one before
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kApart = true; // so that reaching past a piece is seen
#else
constexpr bool kApart = false;
#endif

std::size_t up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

} // namespace

Arena::Arena(std::unique_ptr<Mapped> image, std::size_t start) : image_(std::move(image)) {
  if (!image_) return;
  if (start > image_->size() || start % kAlign) throw std::invalid_argument("the image begins where none can");
  next_ = const_cast<std::byte*>(image_->data()) + start;
  left_ = image_->size() - start;
}

Arena::~Arena() {
  for (const Piece& part : parts_) {
    if (kApart) ::operator delete[](part.begin, std::align_val_t{kAlign});
    else munmap(part.begin, part.size);
  }
}

std::byte* Arena::take(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  bytes = up(std::max<std::size_t>(bytes, 1), kAlign);
  if (bytes > left_ || (!image_ && kApart)) {
    if (image_) throw std::invalid_argument("the image of the weights ends too early");
    grow(bytes);
  }
  taken_.push_back({next_, bytes});
  next_ += bytes;
  left_ -= bytes;
  return taken_.back().begin;
}

void Arena::grow(std::size_t bytes) {
  if (kApart) {
    next_ = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kAlign}));
    parts_.push_back({std::fill_n(next_, bytes, std::byte{}) - bytes, left_ = bytes});
    return;
  }
  std::size_t size = std::max(bytes, parts_.empty() ? kLeast : std::min(kMost, 2 * parts_.back().size));
  const bool huge = size >= kHuge;
  size = huge ? up(size, kHuge) + kHuge : up(size, kPage); // room to begin at a huge page
  parts_.reserve(parts_.size() + 1);
  void* begin = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) throw std::bad_alloc();
  parts_.push_back({static_cast<std::byte*>(begin), size});
  next_ = parts_.back().begin;
  left_ = size;
  if (huge) {
    next_ += -reinterpret_cast<std::uintptr_t>(next_) % kHuge;
    left_ -= kHuge;
#if defined(MADV_HUGEPAGE)
    madvise(next_, left_, MADV_HUGEPAGE);
#endif
  }
}

} // namespace weft

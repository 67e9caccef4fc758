// Memory that goes all at once, in huge pages where the system has them: a matrix that is read once a step is worth little of a
// processor's table of pages. Or what another arena held, from a file.

#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "mapped.h"

namespace weft {

class Arena {
public:
  // image: what the pieces of another arena held, one after the other as they were taken, each padded to kAlign bytes; `take`
  // then gives them again, and they may only be read.
  explicit Arena(std::unique_ptr<Mapped> image = nullptr, std::size_t start = 0);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  static constexpr std::size_t kAlign = 64;
  struct Piece {
    std::byte* begin;
    std::size_t size; // a multiple of kAlign
  };

  // Aligned to kAlign. Zeros, unless it is `filled`. Throws std::bad_alloc, or std::invalid_argument if the image ends before.
  std::byte* take(std::size_t bytes);
  template <class T> T* take_of(std::size_t count) { return reinterpret_cast<T*>(take(count * sizeof(T))); }
  // What is taken holds what the image does.
  bool filled() const { return image_ != nullptr; }
  // Bytes of the image that nobody took.
  std::size_t left() const { return left_; }
  const std::vector<Piece>& taken() const { return taken_; }
  // The image's file was cut short, and some of it was zeros.
  bool cut() const { return image_ && image_->cut(); }

private:
  void grow(std::size_t bytes);

  std::unique_ptr<Mapped> image_;
  std::vector<Piece> parts_, taken_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

} // namespace weft

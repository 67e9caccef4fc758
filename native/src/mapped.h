// A file in memory, read-only. Someone may cut it short while it is mapped, which must not end the process.

#pragma once

#include <atomic>
#include <cstddef>
#include <string>

namespace weft {

class Mapped {
public:
  // Throws std::runtime_error for a file that cannot be mapped.
  explicit Mapped(const std::string& path);
  ~Mapped();
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  // Whether something was read that is no longer in the file: it was zeros.
  bool cut() const { return cut_; }

private:
  friend struct Guard;

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::atomic<bool> cut_{false};
  int place_ = -1;
};

} // namespace weft

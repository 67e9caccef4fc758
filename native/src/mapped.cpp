#include "mapped.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace weft {

// Reading past the end of a mapped file raises SIGBUS; the handler puts a page of zeros there, and others' faults go to whoever
// handled them before.
struct Guard {
  static constexpr int kMost = 1024; // files
  static inline std::array<std::atomic<Mapped*>, kMost> files{};
  static inline struct sigaction before {};

  static void handle(int, siginfo_t* info, void*) {
    const int error = errno;
    const auto* at = static_cast<const std::byte*>(info->si_addr);
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    for (auto& file : files) {
      Mapped* mapped = file.load(std::memory_order_acquire);
      if (!mapped || at < mapped->data_ || at >= mapped->data_ + mapped->size_) continue;
      void* begin = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(at) / page * page);
      if (mmap(begin, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
      mapped->cut_ = true;
      errno = error;
      return;
    }
    sigaction(SIGBUS, &before, nullptr); // not ours: the same fault comes again, for them
    errno = error;
  }

  static int watch(Mapped* mapped) {
    static std::once_flag once;
    std::call_once(once, [] {
      struct sigaction action {};
      action.sa_sigaction = handle;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
      sigemptyset(&action.sa_mask);
      sigaction(SIGBUS, &action, &before);
    });
    for (int i = 0; i < kMost; i++) {
      Mapped* free = nullptr;
      if (files[i].compare_exchange_strong(free, mapped)) return i;
    }
    throw std::runtime_error("more than " + std::to_string(kMost) + " files in memory");
  }
};

Mapped::Mapped(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat found {};
  if (file < 0 || fstat(file, &found) != 0 || found.st_size <= 0) {
    if (file >= 0) close(file);
    throw std::runtime_error(path + " cannot be read");
  }
  size_ = static_cast<std::size_t>(found.st_size);
  void* begin = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (begin == MAP_FAILED) throw std::runtime_error(path + " cannot be mapped: " + std::strerror(errno));
#if defined(MADV_HUGEPAGE)
  madvise(begin, size_, MADV_HUGEPAGE);
#endif
  data_ = static_cast<const std::byte*>(begin);
  try {
    place_ = Guard::watch(this);
  } catch (...) {
    munmap(begin, size_);
    throw;
  }
}

Mapped::~Mapped() {
  Guard::files[place_].store(nullptr, std::memory_order_release);
  munmap(const_cast<std::byte*>(data_), size_);
}

} // namespace weft

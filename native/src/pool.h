// A few threads that wait for work without sleeping for a while, since a decoding step hands out dozens of pieces of it.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace weft {

// Runs numbered items of a job on all threads, the caller's included. Items are claimed one by one, so that a thread that the
// system has put aside holds nobody up. One job at a time: callers exclude each other.
class Pool {
public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(item, thread) for items 0..count-1. Throws what an item threw.
  template <class F> void run(int count, F f) {
    if (workers_.empty() || count <= 1) {
      for (int i = 0; i < count; i++) f(i, 0);
      return;
    }
    for (int first = 0; first < count; first += kMost) {
      auto some = [&](int item, int thread) { f(first + item, thread); };
      start(std::min(kMost, count - first),
            [](void* what, int item, int thread) { (*static_cast<decltype(some)*>(what))(item, thread); }, &some);
    }
  }

private:
  using Call = void (*)(void*, int item, int thread);
  static constexpr int kMost = (1 << 20) - 1; // items of a job

  void start(int count, Call call, void* what);
  void stop();
  void work(int thread);
  bool help(std::uint64_t seen, int thread);

  // The job's number (24 bits), its items (20) and the next one to claim (20): one word, so that a late thread cannot mix up jobs.
  alignas(64) std::atomic<std::uint64_t> job_{0};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> asleep_{0};
  std::atomic<bool> stop_{false};
  Call call_ = nullptr;
  void* what_ = nullptr;
  std::mutex failure_lock_;
  std::exception_ptr failure_;
  std::vector<std::thread> workers_;
  const int process_; // that the workers belong to; a fork has none of them
};

} // namespace weft

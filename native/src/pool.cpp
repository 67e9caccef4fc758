#include "pool.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weft {

namespace {

constexpr int kBits = 20;
constexpr std::uint64_t kMask = (1u << kBits) - 1;
constexpr auto kPatience = std::chrono::milliseconds(2); // how long a thread spins before it sleeps: longer than what is between two steps

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

Pool::Pool(int threads) : process_(getpid()) {
  try {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& error) {
    const std::string started = std::to_string(this->threads());
    stop(); // as a thread that nobody joins would end the process
    throw std::runtime_error("only " + started + " of " + std::to_string(threads) + " threads can be started (" + error.what() +
                             "); use fewer");
  }
}

Pool::~Pool() {
  if (getpid() != process_) {
    for (auto& worker : workers_) worker.detach();
    return;
  }
  stop();
}

void Pool::stop() {
  stop_ = true;
  job_.fetch_add(std::uint64_t{1} << 2 * kBits);
  job_.notify_all();
  for (auto& worker : workers_) worker.join();
  workers_.clear();
}

// Claims and runs one item of the job; whether there was one.
bool Pool::help(std::uint64_t seen, int thread) {
  if ((seen & kMask) >= (seen >> kBits & kMask)) return false;
  const std::uint64_t claimed = job_.fetch_add(1, std::memory_order_acq_rel);
  const auto item = claimed & kMask;
  if (item >= (claimed >> kBits & kMask)) return false;
  try {
    call_(what_, static_cast<int>(item), thread);
  } catch (...) {
    std::lock_guard lock(failure_lock_);
    failure_ = std::current_exception();
  }
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

void Pool::start(int count, Call call, void* what) {
  call_ = call;
  what_ = what;
  failure_ = nullptr;
  done_.store(0, std::memory_order_relaxed);
  const std::uint64_t number = (job_.load(std::memory_order_relaxed) >> 2 * kBits) + 1;
  job_.store(number << 2 * kBits | static_cast<std::uint64_t>(count) << kBits, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst) > 0) job_.notify_all();
  while (help(job_.load(std::memory_order_acquire), 0)) {
  }
  for (int spins = 0; done_.load(std::memory_order_acquire) < count; spins++) {
    if (spins % 4096 == 4095) std::this_thread::yield(); // the machine has more work than cores
    else pause();
  }
  if (failure_) std::rethrow_exception(failure_);
}

void Pool::work(int thread) {
  while (!stop_) {
    const auto since = std::chrono::steady_clock::now();
    bool worked = false;
    for (int spins = 0; !worked && !stop_; spins++) {
      const std::uint64_t seen = job_.load(std::memory_order_acquire);
      while (help(job_.load(std::memory_order_acquire), thread)) worked = true;
      if (worked) break;
      pause();
      if (spins % 256 == 255 && std::chrono::steady_clock::now() - since > kPatience) {
        asleep_.fetch_add(1, std::memory_order_seq_cst);
        if (job_.load(std::memory_order_seq_cst) == seen) job_.wait(seen);
        asleep_.fetch_sub(1, std::memory_order_seq_cst);
        break;
      }
    }
  }
}

} // namespace weft

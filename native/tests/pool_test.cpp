// The thread pool: every item once, nothing after `run` returns, failures told, sleepers woken. For ThreadSanitizer too: what
// items and callers share is plain memory on purpose.

#include "pool.h"

#include <chrono>
#include <stdexcept>

#include "check.h"

namespace weft {

namespace {

void test_items(int threads) {
  Pool pool(threads);
  check(pool.threads() == threads, "number of threads");
  Chance chance;
  for (int round = 0; round < 2000; round++) {
    const int count = round % 50 ? chance.below(40) : chance.below(3000);
    std::vector<int> touched(count), by_thread(threads);
    pool.run(count, [&](int item, int thread) {
      touched[item]++;
      by_thread[thread]++;
    });
    int sum = 0;
    for (const int n : by_thread) sum += n;
    check(sum == count, "items of all threads");
    for (const int times : touched) check(times == 1, "an item runs once");
    if (round % 400 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3)); // they fall asleep
  }
}

void test_failures(int threads) {
  Pool pool(threads);
  for (int round = 0; round < 200; round++) {
    std::string told;
    try {
      pool.run(20, [&](int item, int) {
        if (item % 7 == 3) throw std::runtime_error("item");
      });
    } catch (const std::runtime_error& error) {
      told = error.what();
    }
    check(told == "item", "a failure is told");
    int done = 0;
    pool.run(1, [&](int, int) { done++; });
    check(done == 1, "the pool goes on after a failure");
  }
}

void test_lives(int threads) {
  for (int round = 0; round < 50; round++) {
    Pool pool(threads);
    if (round % 2) pool.run(threads, [](int, int) {});
    if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

} // namespace

} // namespace weft

int main() {
  for (const int threads : {1, 2, 3, 8}) {
    weft::test_items(threads);
    weft::test_failures(threads);
    weft::test_lives(threads);
  }
  std::printf("pool: %d failures\n", weft::failures);
  return weft::failures ? 1 : 0;
}

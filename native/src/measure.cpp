#include "measure.h"

#include <algorithm>
#include <chrono>

#include "arena.h"
#include "pool.h"

namespace weft {

namespace {

constexpr int kSums = 1024;                  // floats that what is read is added to; they stay in a core's first cache
constexpr std::size_t kPiece = 256 << 10;    // bytes that a thread claims
constexpr int kInputs = 1024, kOutputs = 4096, kRows = 96; // of products
constexpr int kLeast = 5;                    // passes, the first of which is left out

template <class F> std::vector<double> timed(double seconds, F pass) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> took;
  double total = 0;
  while (total < seconds || took.size() < kLeast) {
    const auto start = Clock::now();
    pass();
    took.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    total += took.back();
  }
  took.erase(took.begin()); // caches and pages are cold
  return took;
}

} // namespace

Passes read_passes(std::size_t bytes, int threads, double seconds) {
  const Kernels& kernels = choose_kernels();
  Pool pool(threads);
  Arena arena;
  constexpr std::size_t kRow = kSums * sizeof(float);
  const std::size_t rows = std::max<std::size_t>(1, bytes / kRow), together = kPiece / kRow;
  float* numbers = arena.take_of<float>(rows * kSums);
  std::fill_n(numbers, rows * kSums, 1.0f); // pages that were never written are one page of zeros
  std::vector<float> sums(static_cast<std::size_t>(threads) * 2 * kSums);
  const auto pass = [&] {
    pool.run(static_cast<int>((rows + together - 1) / together), [&](int item, int thread) {
      const std::size_t first = item * together, last = std::min(rows, first + together);
      for (std::size_t row = first; row < last; row++)
        kernels.add(numbers + row * kSums, kSums, sums.data() + static_cast<std::size_t>(thread) * 2 * kSums);
    });
  };
  return {static_cast<double>(rows * kRow), timed(seconds, pass)};
}

Passes product_passes(Precision precision, int threads, double seconds) {
  const Kernels& kernels = choose_kernels();
  Pool pool(threads);
  Arena arena;
  const int panels = kOutputs / kernels.panel;
  const std::size_t panel_bytes = kernels.panel_bytes(precision, kInputs), stride = kernels.operand_bytes(precision, kInputs);
  std::byte* weights = arena.take(panels * panel_bytes);
  std::byte* operands = arena.take(kRows * stride);
  float* scales = arena.take_of<float>(kOutputs);
  std::int32_t* offsets = arena.take_of<std::int32_t>(kOutputs);
  float* operand_scales = arena.take_of<float>(kRows);
  float* out = arena.take_of<float>(static_cast<std::size_t>(kRows) * kOutputs);
  std::vector<float> rows(static_cast<std::size_t>(kernels.panel) * kInputs);
  for (std::size_t i = 0; i < rows.size(); i++) rows[i] = static_cast<float>(i * 2654435761u % 1021) / 510.0f - 1.0f;
  for (int panel = 0; panel < panels; panel++)
    kernels.pack(precision, rows.data(), kernels.panel, kInputs, weights + panel * panel_bytes, scales + panel * kernels.panel,
                 offsets + panel * kernels.panel);
  for (int row = 0; row < kRows; row++)
    kernels.prepare(precision, rows.data() + row % kernels.panel * kInputs, kInputs, operands + row * stride, &operand_scales[row]);
  const Matrix matrix{precision, kOutputs, kInputs, weights, panel_bytes, scales, offsets, nullptr};
  const Product product{&matrix, operands, stride, precision == Precision::int8 ? operand_scales : nullptr, kRows,
                        Activation::none, nullptr, out, kOutputs};
  const auto pass = [&] { pool.run(panels, [&](int panel, int) { kernels.product(product, panel, panel + 1); }); };
  return {2.0 * kRows * kOutputs * kInputs, timed(seconds, pass)};
}

} // namespace weft

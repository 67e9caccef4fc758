// What works on rows of numbers, at odd lengths and in place; and the scan of logits.

#include <algorithm>
#include <limits>

#include "check.h"

namespace weft {

namespace {

constexpr int kLengths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 515};

void test_norms(const Kernels& k, Chance& chance, int n) {
  const std::string name = k.name;
  const auto weight = chance.numbers(n), bias = chance.numbers(n);
  auto x = chance.numbers(n, 5);
  double mean = 0, squares = 0, variance = 0;
  for (const float v : x) mean += v / static_cast<double>(n);
  for (const float v : x) squares += static_cast<double>(v) * v / n, variance += (v - mean) * (v - mean) / n;
  std::vector<float> plain(n), biased(n), rms(n);
  k.layer_norm(x.data(), n, weight.data(), nullptr, 1e-5f, plain.data());
  k.layer_norm(x.data(), n, weight.data(), bias.data(), 1e-5f, biased.data());
  k.rms_norm(x.data(), n, weight.data(), 1, 1e-5f, rms.data());
  for (int i = 0; i < n; i++) {
    const double normed = (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i];
    near(plain[i], normed, n == 1 ? 1e-3 : 2e-5, name + " layer_norm");
    near(biased[i], normed + bias[i], n == 1 ? 1e-3 : 2e-5, name + " layer_norm with bias");
    near(rms[i], x[i] / std::sqrt(squares + 1e-5) * (weight[i] + 1.0), 2e-5, name + " rms_norm");
  }
  auto y = x;
  k.layer_norm(x.data(), n, weight.data(), bias.data(), 1e-5f, x.data());
  k.rms_norm(y.data(), n, weight.data(), 1, 1e-5f, y.data());
  check(x == biased && y == rms, name + " norm in place");
}

void test_elements(const Kernels& k, Chance& chance, int n) {
  const std::string name = k.name;
  for (int a = 0; a < 6; a++) {
    const auto which = static_cast<Activation>(a);
    auto x = chance.numbers(n, n % 2 ? 3.0f : 30.0f), up = chance.numbers(n), gated = x, before = x;
    x[n / 2] = before[n / 2] = gated[n / 2] = n % 3 ? 1000.0f : -1000.0f;
    k.gate(which, x.data(), up.data(), gated.data(), n);
    k.activate(which, x.data(), n);
    for (int i = 0; i < n; i++) {
      const double expected = activation(which, before[i]), tolerance = 1e-6 * (1 + std::fabs(before[i]));
      near(x[i], expected, tolerance, name + " activation " + std::to_string(a));
      near(gated[i], expected * up[i], tolerance, name + " gate " + std::to_string(a));
    }
  }
  const auto x = chance.numbers(n), y = chance.numbers(n);
  auto scaled = x, sum = y;
  k.scale(2.5f, scaled.data(), n);
  k.add(x.data(), n, sum.data());
  for (int i = 0; i < n; i++) {
    near(scaled[i], 2.5 * x[i], 1e-6, name + " scale");
    near(sum[i], static_cast<double>(x[i]) + y[i], 1e-6, name + " add");
  }
  const auto turned = chance.numbers(2 * n);
  auto found = turned;
  k.rotate(x.data(), y.data(), n, found.data());
  for (int i = 0; i < n; i++) {
    near(found[i], turned[i] * x[i] - turned[i + n] * y[i], 1e-6, name + " rotate");
    near(found[i + n], turned[i + n] * x[i] + turned[i] * y[i], 1e-6, name + " rotate");
  }
}

// In two pieces, with equal logits and some that are impossible.
void test_scan(const Kernels& k, Chance& chance, int n, int count) {
  const std::string name = std::string(k.name) + " scan of " + std::to_string(n) + " for " + std::to_string(count);
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  std::vector<float> logits(n);
  for (float& x : logits) x = chance.below(9) ? static_cast<float>(chance.below(12)) - 6 : kNever;
  std::vector<float> values(count);
  std::vector<std::int32_t> ids(count), order(n);
  Best best{count, 0, values.data(), ids.data()};
  const int first = n / 3;
  double total = 0;
  for (const auto& [begin, end] : {std::pair{0, first}, std::pair{first, n}}) {
    const std::vector<float> piece(logits.begin() + begin, logits.begin() + end);
    float top = 0, sum = 0;
    k.scan(piece.data(), end - begin, 100 + begin, best, top, sum);
    check(piece.empty() || top == *std::max_element(piece.begin(), piece.end()), name + ": the highest");
    if (top > kNever) total += std::exp(static_cast<double>(top)) * sum;
    else check(sum == 0, name + ": nothing possible, but a sum");
  }
  double expected = 0;
  for (const float x : logits) expected += std::exp(static_cast<double>(x));
  near(total, expected, 1e-5 * expected, name + ": the sum");
  for (int i = 0; i < n; i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  check(best.found == std::min(n, count), name + ": how many");
  for (int i = 0; i < best.found; i++)
    check(ids[i] == 100 + order[i] && values[i] == logits[order[i]], name + ": number " + std::to_string(i));
}

void test_nearest(const Kernels& k, Chance& chance, int n, float share) {
  const std::string name = std::string(k.name) + " nearest of " + std::to_string(n) + " to " + std::to_string(share);
  std::vector<float> logits = chance.numbers(n, 3), distances(padded(n)), weights(padded(n));
  for (float& x : logits) x = chance.below(9) ? x : -std::numeric_limits<float>::infinity();
  const float centre = *std::max_element(logits.begin(), logits.end()) - static_cast<float>(chance.below(3));
  double total = 0, within = 0, before = 0, found = 0;
  for (const float x : logits) total += std::exp(static_cast<double>(x));
  std::vector<float> out(n);
  k.nearest(logits.data(), n, static_cast<float>(std::log(total)), centre, share, distances.data(), weights.data(), out.data());
  if (!(total > 0)) return check(out == logits, name + ": nothing possible");
  for (const float x : out)
    if (!std::isinf(x)) found = std::max(found, std::fabs(static_cast<double>(x) - centre));
  for (int i = 0; i < n; i++) {
    if (std::isinf(logits[i])) {
      check(std::isinf(out[i]), name + ": what is impossible stays so");
      continue;
    }
    const double distance = std::fabs(static_cast<double>(logits[i]) - centre), chance = std::exp(static_cast<double>(logits[i])) / total;
    if (distance <= found + 1e-6) within += chance;
    if (distance < found - 1e-6) before += chance;
    check(out[i] == logits[i] ? distance <= found + 1e-6 : std::isinf(out[i]) && distance >= found - 1e-6, name + ": what is kept");
  }
  check(within >= share - 1e-5 && before <= share + 1e-5, name + ": " + std::to_string(before) + " to " + std::to_string(within));
}

} // namespace

void test_rows(const Kernels& k) {
  Chance chance;
  for (const int n : kLengths) {
    test_norms(k, chance, n);
    test_elements(k, chance, n);
    for (const int count : {1, 2, 5, 40}) test_scan(k, chance, n, count);
    for (const float share : {0.001f, 0.3f, 0.9f, 0.999f}) test_nearest(k, chance, n, share);
  }
}

} // namespace weft

// Attention over blocks of keys and values, with everything that changes where a row looks.

#include <algorithm>

#include "check.h"

namespace weft {

namespace {

// Keys and values of one key/value head, as numbers and as the cache keeps them.
struct Memory {
  int size, slots;
  bool narrow;
  std::vector<std::int32_t> positions; // [blocks * kBlock], -1: nothing
  std::vector<float> keys, values;     // [slots, E]
  std::vector<std::vector<std::byte>> key_blocks, value_blocks;

  Memory(const Kernels& k, Chance& chance, int size, int blocks, bool narrow)
      : size(size), slots(blocks * kBlock), narrow(narrow), positions(slots, -1), keys(chance.numbers(slots * size)),
        values(chance.numbers(slots * size)) {
    const std::size_t bytes = static_cast<std::size_t>(padded(size, kBlock)) * kBlock * (narrow ? 2 : 4);
    for (int b = 0; b < blocks; b++) {
      key_blocks.emplace_back(bytes);
      value_blocks.emplace_back(bytes);
    }
    for (int s = 0; s < slots; s++) {
      if (s && !chance.below(6)) continue; // an empty slot
      positions[s] = chance.below(slots);
      k.remember(narrow, keys.data() + s * size, values.data() + s * size, size, s % kBlock, key_blocks[s / kBlock].data(),
                 value_blocks[s / kBlock].data());
    }
    for (float& x : keys) x = narrow ? rounded(x) : x;
    for (float& x : values) x = narrow ? rounded(x) : x;
  }
};

bool looks(const Attention& a, const Memory& memory, int m, int s) {
  const int key = memory.positions[s], query = a.positions[m];
  if (key < 0 || (a.causal && key > query)) return false;
  if (a.window && (query - key >= a.window || (!a.causal && key - query >= a.window))) return false;
  return !a.visible || a.visible[m][s / kBlock] >> s % kBlock & 1;
}

double score(const Attention& a, const Memory& memory, int m, int g, int s) {
  double found = 0;
  for (int e = 0; e < a.size; e++) found += static_cast<double>(a.queries[m * a.query_stride + g * a.size + e]) * memory.keys[s * a.size + e];
  found *= a.scale;
  if (a.soft_cap > 0) found = a.soft_cap * std::tanh(found / a.soft_cap);
  const int key = memory.positions[s], distance = key - a.positions[m];
  if (a.bias) found += a.bias[g * (2 * a.bias_reach + 1) + a.bias_reach + std::clamp(distance, -a.bias_reach, a.bias_reach)];
  if (a.slopes && a.slopes_rounded) found += a.slope_scale * rounded(rounded(a.slopes[g]) * static_cast<float>(key));
  else if (a.slopes) found -= a.slope_scale * static_cast<double>(a.slopes[g]) * std::abs(distance);
  return found;
}

void compare(const Attention& a, const Memory& memory, const std::string& what) {
  for (int m = 0; m < a.rows; m++)
    for (int g = 0; g < a.group; g++) {
      std::vector<double> weights(memory.slots), out(a.size);
      double sum = 0;
      for (int s = 0; s < memory.slots; s++) sum += weights[s] = looks(a, memory, m, s) ? std::exp(score(a, memory, m, g, s)) : 0;
      for (int s = 0; s < memory.slots; s++) {
        weights[s] /= sum;
        near(a.weights[(static_cast<std::size_t>(m) * a.group + g) * memory.slots + s], weights[s], 1e-5, what + " weights");
        for (int e = 0; e < a.size; e++) out[e] += weights[s] * memory.values[s * a.size + e];
      }
      for (int e = 0; e < a.size; e++) near(a.out[m * a.out_stride + g * a.size + e], out[e], 1e-5, what);
    }
}

void test_one(const Kernels& k, Chance& chance, int size, int rows, int blocks, bool narrow) {
  const int group = 1 + chance.below(3);
  const std::string what = std::string(k.name) + " attention of " + std::to_string(rows) + " rows, size " + std::to_string(size) +
                           ", " + std::to_string(blocks) + " blocks";
  const Memory memory(k, chance, size, blocks, narrow);
  const std::ptrdiff_t stride = group * size + 3;
  auto queries = chance.numbers(rows * stride);
  for (float& x : queries) x = narrow ? rounded(x) : x; // as a product of bfloat16 takes them
  std::vector<float> out(rows * stride), scores(attention_scratch(size, blocks)),
      weights(static_cast<std::size_t>(rows) * group * memory.slots), slopes = chance.numbers(group), bias;
  std::vector<std::int32_t> positions(rows);
  std::vector<std::vector<std::uint16_t>> seen(rows, std::vector<std::uint16_t>(blocks));
  std::vector<const std::uint16_t*> visible;
  for (int m = 0; m < rows; m++) {
    for (auto& bits : seen[m]) bits = static_cast<std::uint16_t>(chance.below(1 << 16));
    int own = chance.below(memory.slots); // a row stands where a key does, and may look there
    while (memory.positions[own] < 0) own--;
    positions[m] = memory.positions[own];
    seen[m][own / kBlock] |= static_cast<std::uint16_t>(1 << own % kBlock);
    visible.push_back(seen[m].data());
  }
  std::vector<const std::byte*> keys, values;
  for (int b = 0; b < blocks; b++) {
    keys.push_back(memory.key_blocks[b].data());
    values.push_back(memory.value_blocks[b].data());
  }
  Attention a{};
  a.rows = rows;
  a.group = group;
  a.size = size;
  a.blocks = blocks;
  a.queries = queries.data();
  a.query_stride = a.out_stride = stride;
  a.positions = positions.data();
  a.visible = chance.coin() ? visible.data() : nullptr;
  a.narrow = narrow;
  a.keys = keys.data();
  a.values = values.data();
  a.key_positions = memory.positions.data();
  a.scale = chance.coin() ? 0.5f : 1.0f;
  a.soft_cap = chance.coin() ? 2.0f : 0.0f;
  a.causal = chance.coin();
  if (chance.coin()) a.window = 1 + chance.below(memory.slots);
  a.bias_reach = chance.below(9);
  bias = chance.numbers(group * (2 * a.bias_reach + 1));
  if (chance.coin()) a.bias = bias.data();
  else if (chance.coin()) a.slopes = slopes.data();
  a.slope_scale = 0.5f;
  a.slopes_rounded = chance.coin();
  a.out = out.data();
  a.scores = scores.data();
  a.weights = weights.data();
  k.attend(a);
  compare(a, memory, what);
  const auto together = out;
  a.weights = nullptr;
  for (int m = 0; m < rows; m++) { // alone
    Attention one = a;
    one.rows = 1;
    one.queries += m * stride;
    one.positions += m;
    one.visible = a.visible ? a.visible + m : nullptr;
    one.out += m * stride;
    k.attend(one);
  }
  check(out == together, what + ": a row alone differs");
}

} // namespace

void test_attention(const Kernels& k) {
  Chance chance;
  for (const int size : {1, 2, 3, 5, 8, 15, 16, 17, 32, 64, 72, 80})
    for (const int rows : {1, 2, 3, 4, 5, 9})
      for (const int blocks : {1, 2, 3, 5})
        for (const bool narrow : {false, true}) test_one(k, chance, size, rows, blocks, narrow);
}

} // namespace weft

// Attention over a cache in blocks of kBlock positions: keys as a panel of kBlock outputs, so that a vector holds W keys and no
// sum runs across lanes; values [kBlock, padded E]. Every row goes over all blocks of its source in their order.

constexpr int kLanes = kBlock / W; // vectors of a block
constexpr int kChains = 4;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// 0, 1, ... A constant to the compiler: what is computed when the module is loaded runs on machines without these instructions.
template <int... i> constexpr I32 counted(std::integer_sequence<int, i...>) { return I32{i...}; }
constexpr I32 kLane = counted(std::make_integer_sequence<int, W>{});

// Where row m may look among the keys of a block's vector: lanes all ones or zero.
inline I32 may_look(const Attention& a, int m, int block, int lane) {
  I32 keys;
  std::memcpy(&keys, a.key_positions + block * kBlock + lane * W, sizeof keys);
  I32 allowed = keys >= 0;
  const int position = a.positions[m];
  if (a.causal) allowed &= keys <= position;
  if (a.window) {
    allowed &= keys > position - a.window;
    if (!a.causal) allowed &= keys < position + a.window;
  }
  if (a.visible) allowed &= ((a.visible[m][block] - I32{}) >> (kLane + lane * W) & 1) != 0;
  return allowed;
}

inline F32 biased(const Attention& a, int m, int g, int block, int lane, F32 scores) {
  I32 keys;
  std::memcpy(&keys, a.key_positions + block * kBlock + lane * W, sizeof keys);
  if (a.bias) {
    const float* middle = a.bias + g * (2 * a.bias_reach + 1) + a.bias_reach;
    F32 bias;
    for (int i = 0; i < W; i++) {
      const int distance = keys[i] - a.positions[m];
      bias[i] = middle[distance < -a.bias_reach ? -a.bias_reach : distance > a.bias_reach ? a.bias_reach : distance];
    }
    scores += bias;
  }
  if (a.slopes && a.slopes_rounded) { // Falcon: bfloat16(slope) * key in bfloat16
    F32 bias;
    for (int i = 0; i < W; i++) bias[i] = a.slope_scale * to_bfloat16(to_bfloat16(a.slopes[g]) * static_cast<float>(keys[i]));
    scores += bias;
  } else if (a.slopes) {
    const F32 distance = magnitude(__builtin_convertvector(keys - a.positions[m], F32));
    scores += distance * (-a.slope_scale * a.slopes[g]);
  }
  return scores;
}

// How keys and values are kept.
struct Wide {
  using Product = Float32;
  using Number = float;
  static F32 load(const Number* p) {
    F32 v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(const float* x, int n, Number* out) { std::copy(x, x + n, out); }
};
struct Narrow {
  using Product = Bfloat16;
  using Number = std::uint16_t;
  static F32 load(const Number* p) {
#if defined(__AVX512F__)
    return from_bits((I32)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)) << 16);
#elif defined(__AVX2__)
    return from_bits((I32)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)) << 16);
#endif
    std::uint16_t halves __attribute__((vector_size(W * sizeof(Number))));
    std::memcpy(&halves, p, sizeof halves);
    return from_bits(__builtin_convertvector(halves, I32) << 16);
  }
  static void store(const float* x, int n, Number* out) {
#if defined(__AVX512BF16__)
    over(
        n,
        [&](int i) {
          const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(x + i));
          std::memcpy(out + i, &narrow, sizeof narrow);
        },
        [&](int i) { out[i] = upper_half(to_bfloat16(x[i])); });
#else
    for (int i = 0; i < n; i++) out[i] = upper_half(to_bfloat16(x[i]));
#endif
  }
};

inline void fetch(const std::byte* p, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

template <class K> inline const typename K::Number* numbers(const std::byte* p) {
  return reinterpret_cast<const typename K::Number*>(p);
}

// Scores of Q rows from m over all blocks, for head g: into a.scores [Q, blocks * kBlock]. asked: after them, [Q, E] as a product
// takes it. What comes next is fetched meanwhile, as blocks lie anywhere and nothing else would.
template <class K, int Q> inline void score(const Attention& a, int m, int g) {
  using T = typename K::Product;
  const int slots = a.blocks * kBlock, groups = grouped<T>(a.size) / T::kGroup;
  const bool first = m == 0 && g == 0;
  const typename T::Input* q[Q];
  for (int i = 0; i < Q; i++) {
    const float* query = a.queries + (m + i) * a.query_stride + g * a.size;
    if constexpr (T::kGroup == 1) q[i] = query;
    else {
      auto* asked = reinterpret_cast<std::byte*>(a.scores + kQueries * slots + i * padded(a.size));
      prepare(Precision::bfloat16, query, a.size, asked, nullptr);
      q[i] = reinterpret_cast<const typename T::Input*>(asked);
    }
  }
  if (first)
    for (int b = a.blocks; b < a.later_blocks; b++) fetch(a.later[b], a.later_bytes);
  for (int b = 0; b < a.blocks; b++) {
    const auto* keys = numbers<K>(a.keys[b]);
    if (first && b < a.later_blocks) fetch(a.later[b], a.later_bytes);
    F32 sums[kChains][Q][kLanes] = {}; // several chains, as one would wait for itself
    const auto add = [&](int c, int k) {
      for (int v = 0; v < kLanes; v++)
        for (int i = 0; i < Q; i++) sums[c][i][v] = T::add(sums[c][i][v], keys + (k * kBlock + v * W) * T::kGroup, q[i] + k * T::kGroup);
    };
    int k = 0;
    for (; k + kChains <= groups; k += kChains)
      for (int c = 0; c < kChains; c++) add(c, k + c);
    for (; k < groups; k++) add(0, k);
    for (int i = 0; i < Q; i++)
      for (int v = 0; v < kLanes; v++) {
        F32 s = ((sums[0][i][v] + sums[1][i][v]) + (sums[2][i][v] + sums[3][i][v])) * a.scale;
        if (a.soft_cap > 0) s = a.soft_cap * tanh(s * (1.0f / a.soft_cap));
        if (a.bias || a.slopes) s = biased(a, m + i, g, b, v, s);
        store(a.scores + i * slots + b * kBlock + v * W, may_look(a, m + i, b, v) ? s : splat(kNever));
      }
  }
}

inline void softmax(float* scores, int slots) {
  F32 tops = splat(kNever);
  for (int i = 0; i < slots; i += W) tops = max(tops, load(scores + i));
  const float top = highest(tops);
  F32 sums{};
  for (int i = 0; i < slots; i += W) {
    const F32 p = exp(load(scores + i) - top);
    sums += p;
    store(scores + i, p);
  }
  const float factor = 1.0f / sum(sums);
  for (int i = 0; i < slots; i += W) store(scores + i, load(scores + i) * factor);
}

// out[rows m.., head g] = weights . values, for Q rows and V vectors of a head from channel e.
template <class K, int Q, int V> inline void mix(const Attention& a, int m, int g, int e) {
  const int slots = a.blocks * kBlock, wide = padded(a.size, kBlock);
  F32 sums[Q][V] = {};
  for (int s = 0; s < slots; s++) {
    const auto* value = numbers<K>(a.values[s / kBlock]) + s % kBlock * wide + e;
    float weights[Q], any = 0;
    for (int i = 0; i < Q; i++) any += weights[i] = a.scores[i * slots + s];
    if (any == 0) continue; // no row looks there; adding zeros would change nothing
    for (int v = 0; v < V; v++) {
      const F32 x = K::load(value + v * W);
      for (int i = 0; i < Q; i++) sums[i][v] = fma(splat(weights[i]), x, sums[i][v]);
    }
  }
  for (int i = 0; i < Q; i++) {
    float* out = a.out + (m + i) * a.out_stride + g * a.size + e;
    for (int v = 0; v < V; v++) {
      const int left = a.size - e - v * W;
      if (left >= W) store(out + v * W, sums[i][v]);
      else if (left > 0) std::memcpy(out + v * W, &sums[i][v], left * sizeof(float));
    }
  }
}

template <class K, int Q> inline void attend_rows(const Attention& a, int m, int g) {
  const int slots = a.blocks * kBlock;
  score<K, Q>(a, m, g);
  for (int i = 0; i < Q; i++) softmax(a.scores + i * slots, slots);
  if (a.weights)
    for (int i = 0; i < Q; i++)
      std::copy(a.scores + i * slots, a.scores + (i + 1) * slots,
                a.weights + (static_cast<std::ptrdiff_t>(m + i) * a.group + g) * slots);
  int e = 0;
  for (; e + 4 * W <= a.size; e += 4 * W) mix<K, Q, 4>(a, m, g, e);
  for (; e < a.size; e += W) mix<K, Q, 1>(a, m, g, e);
}

template <class K> void attend_all(const Attention& a) {
  for (int g = 0; g < a.group; g++) {
    int m = 0;
    for (; m + kQueries <= a.rows; m += kQueries) attend_rows<K, kQueries>(a, m, g);
    for (; m < a.rows; m++) attend_rows<K, 1>(a, m, g);
  }
}

void attend(const Attention& a) {
  if (a.narrow) attend_all<Narrow>(a);
  else attend_all<Wide>(a);
}

template <class K>
void keep(const float* keys, const float* values, int size, int place, std::byte* all_keys, std::byte* all_values) {
  constexpr int kGroup = K::Product::kGroup;
  auto* key = reinterpret_cast<typename K::Number*>(all_keys);
  auto* value = reinterpret_cast<typename K::Number*>(all_values) + place * padded(size, kBlock);
  K::store(values, size, value);
  for (int first = 0; first < size; first += kBlock) {
    typename K::Number some[kBlock] = {};
    K::store(keys + first, std::min(kBlock, size - first), some);
    for (int e = 0; e < kBlock && first + e < size; e += kGroup)
      std::memcpy(key + ((first + e) / kGroup * kBlock + place) * kGroup, some + e, sizeof(typename K::Number) * kGroup);
  }
}

void remember(bool narrow, const float* keys, const float* values, int size, int place, std::byte* all_keys,
              std::byte* all_values) {
  if (narrow) keep<Narrow>(keys, values, size, place, all_keys, all_values);
  else keep<Wide>(keys, values, size, place, all_keys, all_values);
}

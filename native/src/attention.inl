// Attention over a cache in blocks of kBlock positions: keys [E, kBlock] of a block, so that a vector holds W keys and no sum
// runs across lanes; values [kBlock, padded E]. Every row goes over all blocks of its source in their order.

constexpr int kLanes = kBlock / W; // vectors of a block
constexpr float kNever = -std::numeric_limits<float>::infinity();

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
  if (a.visible) {
    I32 bit;
    for (int i = 0; i < W; i++) bit[i] = a.visible[m][block] >> (lane * W + i) & 1;
    allowed &= bit != 0;
  }
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

// Scores of Q rows from m over all blocks, for head g: into a.scores [Q, blocks * kBlock].
template <int Q> inline void score(const Attention& a, int m, int g) {
  const int slots = a.blocks * kBlock;
  const float* q[Q];
  for (int i = 0; i < Q; i++) q[i] = a.queries + (m + i) * a.query_stride + g * a.size;
  for (int b = 0; b < a.blocks; b++) {
    F32 sums[Q][kLanes] = {};
    for (int e = 0; e < a.size; e++)
      for (int v = 0; v < kLanes; v++) {
        const F32 key = load(a.keys[b] + e * kBlock + v * W);
        for (int i = 0; i < Q; i++) sums[i][v] = fma(splat(q[i][e]), key, sums[i][v]);
      }
    for (int i = 0; i < Q; i++)
      for (int v = 0; v < kLanes; v++) {
        F32 s = sums[i][v];
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
template <int Q, int V> inline void mix(const Attention& a, int m, int g, int e) {
  const int slots = a.blocks * kBlock, wide = padded(a.size, kBlock);
  F32 sums[Q][V] = {};
  for (int s = 0; s < slots; s++) {
    const float* value = a.values[s / kBlock] + s % kBlock * wide + e;
    float weights[Q], any = 0;
    for (int i = 0; i < Q; i++) any += weights[i] = a.scores[i * slots + s];
    if (any == 0) continue; // no row looks there; adding zeros would change nothing
    for (int v = 0; v < V; v++) {
      const F32 x = load(value + v * W);
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

template <int Q> inline void attend_rows(const Attention& a, int m, int g) {
  const int slots = a.blocks * kBlock;
  score<Q>(a, m, g);
  for (int i = 0; i < Q; i++) softmax(a.scores + i * slots, slots);
  if (a.weights)
    for (int i = 0; i < Q; i++)
      std::copy(a.scores + i * slots, a.scores + (i + 1) * slots,
                a.weights + (static_cast<std::ptrdiff_t>(m + i) * a.group + g) * slots);
  int e = 0;
  for (; e + 4 * W <= a.size; e += 4 * W) mix<Q, 4>(a, m, g, e);
  for (; e < a.size; e += W) mix<Q, 1>(a, m, g, e);
}

void attend(const Attention& a) {
  for (int g = 0; g < a.group; g++) {
    int m = 0;
    for (; m + kQueries <= a.rows; m += kQueries) attend_rows<kQueries>(a, m, g);
    for (; m < a.rows; m++) attend_rows<1>(a, m, g);
  }
}

// Norms, activations and the scan of logits: what works on a row of numbers.

// Calls f(vector, i) for whole vectors of [0, n) and tail(i) for what is left.
template <class F, class T> inline void over(int n, F f, T tail) {
  int i = 0;
  for (; i + W <= n; i += W) f(i);
  for (; i < n; i++) tail(i);
}

float total(const float* x, int n) {
  F32 sums{};
  float rest = 0;
  over(n, [&](int i) { sums += load(x + i); }, [&](int i) { rest += x[i]; });
  return sum(sums) + rest;
}

float total_of_squares(const float* x, int n, float mean) {
  F32 sums{};
  float rest = 0;
  over(
      n,
      [&](int i) {
        const F32 d = load(x + i) - mean;
        sums = fma(d, d, sums);
      },
      [&](int i) { rest += (x[i] - mean) * (x[i] - mean); });
  return sum(sums) + rest;
}

void layer_norm(const float* x, int n, const float* weight, const float* bias, float epsilon, float* out) {
  const float mean = total(x, n) / n;
  const float factor = 1.0f / std::sqrt(total_of_squares(x, n, mean) / n + epsilon);
  over(
      n,
      [&](int i) {
        const F32 normed = (load(x + i) - mean) * factor * load(weight + i);
        store(out + i, bias ? normed + load(bias + i) : normed);
      },
      [&](int i) { out[i] = (x[i] - mean) * factor * weight[i] + (bias ? bias[i] : 0.0f); });
}

void rms_norm(const float* x, int n, const float* weight, float offset, float epsilon, float* out) {
  const float factor = 1.0f / std::sqrt(total_of_squares(x, n, 0.0f) / n + epsilon);
  over(
      n, [&](int i) { store(out + i, load(x + i) * factor * (load(weight + i) + offset)); },
      [&](int i) { out[i] = x[i] * factor * (weight[i] + offset); });
}

// f: vectors to a vector, over whole vectors and a padded last one.
template <class F> inline void map(const float* a, const float* b, float* out, int n, F f) {
  int i = 0;
  for (; i + W <= n; i += W) store(out + i, f(load(a + i), load(b + i)));
  if (i == n) return;
  alignas(sizeof(F32)) float x[W] = {}, y[W] = {}, z[W];
  std::copy(a + i, a + n, x);
  std::copy(b + i, b + n, y);
  store(z, f(load(x), load(y)));
  std::copy(z, z + n - i, out + i);
}

void activate(Activation activation, float* x, int n) {
  with_activation(activation, [&](auto a) { map(x, x, x, n, [a](F32 u, F32) { return activated<a>(u); }); });
}

void gate(Activation activation, const float* gated, const float* up, float* out, int n) {
  with_activation(activation, [&](auto a) { map(gated, up, out, n, [a](F32 g, F32 u) { return activated<a>(g) * u; }); });
}

void scale(float factor, float* x, int n) {
  map(x, x, x, n, [factor](F32 u, F32) { return u * factor; });
}

void add(const float* x, int n, float* out) {
  map(x, out, out, n, [](F32 u, F32 v) { return u + v; });
}

void rotate(const float* cos, const float* sin, int half, float* x) {
  const auto turn = [&](int i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * cos[i] - b * sin[i];
    x[i + half] = b * cos[i] + a * sin[i];
  };
  over(
      half,
      [&](int i) {
        const F32 a = load(x + i), b = load(x + i + half), c = load(cos + i), s = load(sin + i);
        store(x + i, a * c - b * s);
        store(x + i + half, b * c + a * s);
      },
      turn);
}

void keep(Best& best, float value, int id) { // ids come rising, so that of equals the lowest stands first
  int place = best.found < best.count ? best.found++ : best.count - 1;
  for (; place > 0 && best.values[place - 1] < value; place--) {
    best.values[place] = best.values[place - 1];
    best.ids[place] = best.ids[place - 1];
  }
  best.values[place] = value;
  best.ids[place] = id;
}

void scan(const float* logits, int n, int first, Best& best, float& top, float& sums) {
  F32 tops = splat(-std::numeric_limits<float>::infinity());
  float rest = -std::numeric_limits<float>::infinity();
  over(n, [&](int i) { tops = max(tops, load(logits + i)); }, [&](int i) { rest = std::max(rest, logits[i]); });
  top = std::max(highest(tops), rest);
  const float bound = best.found < best.count ? -std::numeric_limits<float>::infinity() : best.values[best.count - 1];
  if (best.count > 0 && (top > bound || best.found < best.count)) {
    for (int i = 0; i < n; i += W) {
      const int end = std::min(i + W, n);
      if (end - i == W && best.found == best.count && !any_above(load(logits + i), best.values[best.count - 1])) continue;
      for (int j = i; j < end; j++)
        if (best.found < best.count || logits[j] > best.values[best.count - 1]) keep(best, logits[j], first + j);
    }
  }
  if (!(top > -std::numeric_limits<float>::infinity())) {
    sums = 0;
    return;
  }
  F32 parts{};
  float tail = 0;
  over(n, [&](int i) { parts += exp(load(logits + i) - top); }, [&](int i) { tail += std::exp(logits[i] - top); });
  sums = sum(parts) + tail;
}

constexpr int kDigits = 8; // of the bits of a distance, which rise as distances do, three at a time

// sums[i]: of the weights [n] at distances whose bits are below `low` and i + 1 times 2^shift. n is whole vectors.
void weights_below(const float* distances, const float* weights, int n, std::int32_t low, int shift, float* sums) {
  F32 parts[kDigits - 1];
  I32 bounds[kDigits - 1];
  for (int i = 0; i < kDigits - 1; i++) parts[i] = F32{}, bounds[i] = low + ((i + 1) << shift) - I32{};
  for (int at = 0; at < n; at += W) {
    const I32 place = bits(load(distances + at));
    const F32 weight = load(weights + at);
    for (int i = 0; i < kDigits - 1; i++) parts[i] += place < bounds[i] ? weight : F32{};
  }
  for (int i = 0; i < kDigits - 1; i++) sums[i] = sum(parts[i]);
}

// Whole vectors of [0, n), filled up with what weighs nothing.
int fill_up(float* distances, float* weights, int n) {
  const int whole = (n + W - 1) / W * W;
  std::fill(weights + n, weights + whole, 0.0f);
  std::fill(distances + n, distances + whole, 0.0f);
  return whole;
}

// Those whose bits are from `low` to 2^shift above it, at the front; how many.
int keep_between(float* distances, float* weights, int n, std::int32_t low, int shift) {
  int kept = 0;
  for (int i = 0; i < n; i++) {
    std::int32_t place;
    std::memcpy(&place, distances + i, sizeof place);
    distances[kept] = distances[i];
    weights[kept] = weights[i];
    kept += static_cast<std::uint32_t>(place) - static_cast<std::uint32_t>(low) < 1u << shift;
  }
  return kept;
}

// The least distance within which weights [n] have `share`; infinity if none is. They and the distances are scratch now.
float reach(float* distances, float* weights, int n, float share) {
  int whole = fill_up(distances, weights, n);
  if (!(total(weights, n) >= share)) return std::numeric_limits<float>::infinity();
  constexpr int kFew = 19; // bits that are left when those whose first bits are others are let go
  float sums[kDigits], gone = 0, below = 0; // weights of what was let go; of all that is below `low`
  std::int32_t low = 0;
  for (int shift = 31, left; shift > 0; shift = left) {
    left = std::max(shift - 3, 0);
    weights_below(distances, weights, whole, low, left, sums);
    int digit = 0;
    while (digit < (1 << (shift - left)) - 1 && !(gone + sums[digit] >= share)) below = gone + sums[digit++];
    low += digit << left;
    if (left != kFew) continue;
    whole = fill_up(distances, weights, keep_between(distances, weights, whole, low, left));
    gone = below;
  }
  float distance;
  std::memcpy(&distance, &low, sizeof distance);
  return distance;
}

void nearest(const float* logits, int n, float log_sum, float centre, float share, float* distances, float* weights, float* out) {
  over(
      n,
      [&](int i) {
        const F32 x = load(logits + i);
        store(weights + i, exp(x - log_sum));
        store(distances + i, magnitude(x - centre));
      },
      [&](int i) {
        weights[i] = std::exp(logits[i] - log_sum);
        distances[i] = std::fabs(logits[i] - centre);
      });
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const float farthest = reach(distances, weights, n, share);
  over(
      n,
      [&](int i) {
        const F32 x = load(logits + i);
        store(out + i, magnitude(x - centre) <= splat(farthest) ? x : splat(kNever));
      },
      [&](int i) { out[i] = std::fabs(logits[i] - centre) <= farthest ? logits[i] : kNever; });
}

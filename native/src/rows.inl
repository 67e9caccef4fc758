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

// The sum of weights [n] at distances whose bits, which rise as they do, are `bound` at most. n is whole vectors.
float weight_within(const float* distances, const float* weights, int n, std::int32_t bound) {
  const I32 bounds = bound - I32{};
  const auto at = [&](int i) { return bits(load(distances + i)) <= bounds ? load(weights + i) : F32{}; };
  F32 a{}, b{}, c{}, d{};
  int i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    a += at(i);
    b += at(i + W);
    c += at(i + 2 * W);
    d += at(i + 3 * W);
  }
  for (; i < n; i += W) a += at(i);
  return sum((a + b) + (c + d));
}

float nearest(const float* logits, int n, float log_sum, float centre, float share, float* distances, float* weights) {
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
  const int whole = (n + W - 1) / W * W;
  std::fill(weights + n, weights + whole, 0.0f);
  std::fill(distances + n, distances + whole, 0.0f);
  std::int32_t below = -1, found = 0x7f7fffff; // the largest that is finite
  if (!(weight_within(distances, weights, whole, found) >= share)) return std::numeric_limits<float>::infinity();
  while (found - below > 1) {
    const std::int32_t middle = below + (found - below) / 2;
    (weight_within(distances, weights, whole, middle) >= share ? found : below) = middle;
  }
  float distance;
  std::memcpy(&distance, &found, sizeof distance);
  return distance;
}

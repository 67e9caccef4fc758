// Products of activations with a packed matrix. A panel holds kPanel outputs; within it, groups of kGroup inputs of all its
// outputs stand together, so that a vector load brings W outputs and a broadcast brings their common inputs. Each output sums
// over the inputs in their order, whatever the number of rows.

constexpr int kVectors = kPanel / W; // of a panel

// ---------------------------------------------------------------- what a precision adds up

struct Float32 {
  static constexpr int kGroup = 1;
  using Sum = F32;
  using Weight = float;
  using Input = float;
  static Sum add(Sum sum, const Weight* w, const Input* x) { return fma(splat(*x), load(w), sum); }
  static F32 value(Sum sum, const Matrix&, int, float) { return sum; }
  static Weight store(float w, float) { return w; }
  static float wide(Weight w) { return w; }
};

struct Bfloat16 {
  using Weight = std::uint16_t;
  static constexpr int kGroup = 2;
  using Sum = F32;
#if defined(__AVX512BF16__)
  using Input = std::uint16_t;
  static Sum add(Sum sum, const Weight* w, const Input* x) {
    std::int32_t pair;
    std::memcpy(&pair, x, 4);
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(w), (__m512bh)_mm512_set1_epi32(pair));
  }
#else
  using Input = float;
  static Sum add(Sum sum, const Weight* w, const Input* x) {
    I32 pairs;
    std::memcpy(&pairs, w, sizeof pairs);
    sum = fma(splat(x[0]), from_bits(pairs << 16), sum);
    return fma(splat(x[1]), from_bits(pairs & static_cast<int>(0xffff0000)), sum);
  }
#endif
  static F32 value(Sum sum, const Matrix&, int, float) { return sum; }
  static Weight store(float w, float) { return upper_half(to_bfloat16(w)); }
  static float wide(Weight w) {
    const std::uint32_t u = static_cast<std::uint32_t>(w) << 16;
    float x;
    std::memcpy(&x, &u, 4);
    return x;
  }
};

struct Int8 {
  using Sum = I32;
  using Weight = std::int8_t;
#if defined(__AVX512VNNI__)
  static constexpr int kGroup = 4;
  using Input = std::uint8_t; // 128 is zero
  static constexpr int kZero = 128;
  static Sum add(Sum sum, const Weight* w, const Input* x) {
    std::int32_t four;
    std::memcpy(&four, x, 4);
    return (I32)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four), _mm512_loadu_si512(w));
  }
#else
  static constexpr int kGroup = 2;
  using Input = std::int16_t;
  static constexpr int kZero = 0;
#if defined(__AVX2__)
  static Sum add(Sum sum, const Weight* w, const Input* x) {
    std::int32_t pair;
    std::memcpy(&pair, x, 4);
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)w));
    return (I32)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(wide, _mm256_set1_epi32(pair)));
  }
#else
  static Sum add(Sum sum, const Weight* w, const Input* x) {
    for (int i = 0; i < W; i++) sum[i] += x[0] * w[2 * i] + x[1] * w[2 * i + 1];
    return sum;
  }
#endif
#endif
  static F32 value(Sum sum, const Matrix& matrix, int n, float scale) {
    I32 offsets;
    std::memcpy(&offsets, matrix.offsets + n, sizeof offsets);
    return __builtin_convertvector(sum - offsets, F32) * (load(matrix.scales + n) * scale);
  }
  static Weight store(float w, float inverse) { return static_cast<Weight>(std::lrintf(w * inverse)); }
  static float wide(Weight w) { return w; }
};

// Calls f(T{}) for the precision's T.
template <class F> inline auto with_precision(Precision precision, F f) {
  switch (precision) {
  case Precision::bfloat16: return f(Bfloat16{});
  case Precision::int8: return f(Int8{});
  default: return f(Float32{});
  }
}

template <class T> constexpr int grouped(int inputs) { return padded(inputs, T::kGroup); }
template <class T> constexpr int kGroupBytes = kPanel * T::kGroup * static_cast<int>(sizeof(typename T::Weight)); // of a panel

// ---------------------------------------------------------------- the product itself

// What a tile fetches while it computes: of each group of inputs `lines` lines from `at` on; the processor's own prefetching sees
// only a panel that is read again and again.
struct Ahead {
  const std::byte* at = nullptr;
  int lines = 0;
};

// M rows from `row` times V vectors, from vector `v` of panel `panel` on.
template <class T, Activation A, int M, int V> inline void tile(const Product& p, int row, int panel, int v = 0, Ahead ahead = {}) {
  typename T::Sum sums[M][V];
  for (auto& row : sums)
    for (auto& sum : row) sum = typename T::Sum{}; // in registers; "= {}" would go through memory
  const int groups = grouped<T>(p.matrix->inputs) / T::kGroup;
  const typename T::Weight* weights[(V + kVectors - 1) / kVectors];
  const typename T::Input* inputs[M];
  for (int i = 0; i * kVectors < V; i++)
    weights[i] = reinterpret_cast<const typename T::Weight*>(p.matrix->panels + (panel + i) * p.matrix->panel_bytes) + v * W * T::kGroup;
  for (int m = 0; m < M; m++)
    inputs[m] = reinterpret_cast<const typename T::Input*>(p.operand + (row + m) * p.operand_stride);
  for (int k = 0; k < groups; k++) {
    for (int line = 0; line < ahead.lines; line++)
      __builtin_prefetch(ahead.at + static_cast<std::ptrdiff_t>(k) * kGroupBytes<T> + 64 * line, 0, 2);
    for (int i = 0; i < V; i += kVectors)
      for (int m = 0; m < M; m++)
        for (int u = 0; u < std::min(V, kVectors); u++)
          sums[m][i + u] = T::add(sums[m][i + u], weights[i / kVectors] + (static_cast<std::ptrdiff_t>(k) * kPanel + u * W) * T::kGroup,
                                  inputs[m] + static_cast<std::ptrdiff_t>(k) * T::kGroup);
  }
  for (int m = 0; m < M; m++) {
    const float scale = p.operand_scales ? p.operand_scales[row + m] : 1.0f;
    for (int u = 0; u < V; u++) {
      const int n = panel * kPanel + (v + u) * W;
      F32 value = T::value(sums[m][u], *p.matrix, n, scale);
      if (p.matrix->bias) value += load(p.matrix->bias + n);
      value = activated<A>(value);
      const std::ptrdiff_t place = (row + m) * p.stride + n - p.column;
      if (p.residual) value += load(p.residual + place);
      store(p.out + place, value);
    }
  }
}

// A panel once for M rows, half of its vectors at a time: 12 rows have sums enough then, and a panel is read half as often.
template <class T, Activation A, int M> inline void halves(const Product& p, int row, int panel, Ahead ahead) {
  tile<T, A, M, kVectors / 2>(p, row, panel, 0, ahead);
  tile<T, A, M, kVectors / 2>(p, row, panel, kVectors / 2);
}

// At most 6 rows times a panel.
template <class T, Activation A> inline void few(const Product& p, int row, int count, int panel, Ahead ahead) {
  switch (count) {
  case 1: return tile<T, A, 1, kVectors>(p, row, panel, 0, ahead);
  case 2: return tile<T, A, 2, kVectors>(p, row, panel, 0, ahead);
  case 3: return tile<T, A, 3, kVectors>(p, row, panel, 0, ahead);
  case 4: return tile<T, A, 4, kVectors>(p, row, panel, 0, ahead);
  case 5: return tile<T, A, 5, kVectors>(p, row, panel, 0, ahead);
  case 6: return tile<T, A, 6, kVectors>(p, row, panel, 0, ahead);
  }
}

// Up to 12 rows wait for memory: a tile, or two as alike as can be, so that each fetches as much of the next panel as its work
// leaves time for.
template <class T, Activation A> void few_rows(const Product& p, int panel, const std::byte* next) {
  constexpr int kLines = kGroupBytes<T> / 64;
  const int count = p.rows <= 6 ? p.rows : (p.rows + 1) / 2, lines = p.rows <= 6 ? kLines : kLines / 2;
  few<T, A>(p, 0, count, panel, p.rows == 1 ? Ahead{} : Ahead{next, lines});
  if (count < p.rows) few<T, A>(p, count, p.rows - count, panel, {next + 64 * lines, kLines - lines});
}

template <class T, Activation A> void panels(const Product& p, int first, int last) {
  int panel = first;
  if (p.rows == 1) // alone leaves too few sums to add to while others wait
    for (; panel + 4 <= last; panel += 4) tile<T, A, 1, 4 * kVectors>(p, 0, panel);
  const int tiles = (p.rows + 11) / 12;
  constexpr int kLines = kGroupBytes<T> / 64;
  const int lines = (kLines + tiles - 1) / tiles; // the next panel is fetched by all tiles of this one
  for (; panel < last; panel++) {
    const std::byte* next = p.matrix->panels + (panel + 1) * p.matrix->panel_bytes;
    if (p.rows <= 12) {
      few_rows<T, A>(p, panel, next);
      continue;
    }
    const auto ahead = [&](int row) {
      const int line = row / 12 * lines;
      return row % 12 ? Ahead{} : Ahead{next + 64 * line, std::min(lines, kLines - line)};
    };
    int row = 0;
    for (; row + 12 <= p.rows; row += 12) halves<T, A, 12>(p, row, panel, ahead(row));
    if (p.rows - row == 8) {
      halves<T, A, 8>(p, row, panel, ahead(row));
      continue;
    }
    for (; row < p.rows; row += 6) few<T, A>(p, row, std::min(6, p.rows - row), panel, ahead(row));
  }
}

void product(const Product& p, int first, int last) {
  with_precision(p.matrix->precision, [&](auto t) {
    with_activation(p.activation, [&](auto a) { panels<decltype(t), a>(p, first, last); });
  });
}

// ---------------------------------------------------------------- packing

std::size_t panel_bytes(Precision precision, int inputs) {
  return with_precision(precision, [&](auto t) {
    using T = decltype(t);
    return sizeof(typename T::Weight) * kPanel * grouped<T>(inputs);
  });
}

std::size_t operand_bytes(Precision precision, int inputs) {
  return with_precision(precision, [&](auto t) {
    using T = decltype(t);
    return static_cast<std::size_t>(padded(sizeof(typename T::Input) * grouped<T>(inputs), 64));
  });
}

float largest(const float* x, int n) {
  F32 tops{};
  float rest = 0;
  over(n, [&](int i) { tops = max(tops, magnitude(load(x + i))); }, [&](int i) { rest = std::max(rest, std::fabs(x[i])); });
  return std::max(highest(tops), rest);
}

void pack(Precision precision, const float* rows, int count, int inputs, std::byte* panel, float* scales,
          std::int32_t* offsets) {
  with_precision(precision, [&](auto t) {
    using T = decltype(t);
    auto* out = reinterpret_cast<typename T::Weight*>(panel);
    std::fill(out, out + static_cast<std::size_t>(kPanel) * grouped<T>(inputs), typename T::Weight{});
    for (int n = 0; n < kPanel; n++) {
      const float* row = rows + static_cast<std::ptrdiff_t>(n) * inputs;
      const float top = n < count ? largest(row, inputs) : 0.0f;
      const float inverse = top > 0 ? 127.0f / top : 0.0f;
      std::int32_t sums = 0;
      for (int k = 0; n < count && k < inputs; k++) {
        const auto w = T::store(row[k], inverse);
        out[(static_cast<std::ptrdiff_t>(k / T::kGroup) * kPanel + n) * T::kGroup + k % T::kGroup] = w;
        if constexpr (std::is_same_v<T, Int8>) sums += w;
      }
      if constexpr (std::is_same_v<T, Int8>) {
        scales[n] = top / 127.0f;
        offsets[n] = T::kZero * sums;
      }
    }
  });
}

void copy_row(const Matrix& matrix, int row, std::byte* panel, int place) {
  with_precision(matrix.precision, [&](auto t) {
    using T = decltype(t);
    constexpr std::size_t kUnit = sizeof(typename T::Weight) * T::kGroup; // what stands together of one output
    const std::byte* from = matrix.panels + row / kPanel * matrix.panel_bytes + row % kPanel * kUnit;
    std::byte* to = panel + place * kUnit;
    for (int k = 0; k < grouped<T>(matrix.inputs) / T::kGroup; k++) std::memcpy(to + k * kPanel * kUnit, from + k * kPanel * kUnit, kUnit);
  });
}

void unpack(const Matrix& matrix, int row, float scale, float* out) {
  with_precision(matrix.precision, [&](auto t) {
    using T = decltype(t);
    const auto* panel = reinterpret_cast<const typename T::Weight*>(matrix.panels + row / kPanel * matrix.panel_bytes);
    if (matrix.precision == Precision::int8) scale *= matrix.scales[row];
    for (int k = 0; k < matrix.inputs; k++)
      out[k] = scale * T::wide(panel[(static_cast<std::ptrdiff_t>(k / T::kGroup) * kPanel + row % kPanel) * T::kGroup +
                                     k % T::kGroup]);
  });
}

// ---------------------------------------------------------------- operands

void prepare_int8(const float* x, int n, Int8::Input* out, float* scale) {
  const float top = largest(x, n);
  const float inverse = top > 0 && std::isfinite(top) ? 127.0f / top : 0.0f;
  *scale = top / 127.0f;
  const F32 shift = splat(12582912.0f);
  const auto put = [&](int i, float value) { out[i] = static_cast<Int8::Input>(std::lrintf(value * inverse) + Int8::kZero); };
  over(
      n,
      [&](int i) {
        const I32 whole = bits(fma(load(x + i), splat(inverse), shift)) - 0x4b400000 + Int8::kZero;
        using Narrow = Int8::Input __attribute__((vector_size(W * sizeof(Int8::Input))));
        const Narrow narrow = __builtin_convertvector(whole, Narrow);
        std::memcpy(out + i, &narrow, sizeof narrow);
      },
      [&](int i) { put(i, x[i]); });
  std::fill(out + n, out + grouped<Int8>(n), static_cast<Int8::Input>(Int8::kZero));
}

void prepare(Precision precision, const float* x, int inputs, std::byte* operand, float* scale) {
  if (precision == Precision::int8) {
    prepare_int8(x, inputs, reinterpret_cast<Int8::Input*>(operand), scale);
    return;
  }
#if defined(__AVX512BF16__)
  if (precision == Precision::bfloat16) {
    auto* out = reinterpret_cast<std::uint16_t*>(operand);
    over(
        inputs,
        [&](int i) {
          const __m256bh narrow = _mm512_cvtneps_pbh(load(x + i));
          std::memcpy(out + i, &narrow, sizeof narrow);
        },
        [&](int i) { out[i] = upper_half(to_bfloat16(x[i])); });
    std::fill(out + inputs, out + grouped<Bfloat16>(inputs), std::uint16_t{});
    return;
  }
#endif
  auto* out = reinterpret_cast<float*>(operand);
  std::copy(x, x + inputs, out);
  std::fill(out + inputs, out + (precision == Precision::bfloat16 ? grouped<Bfloat16>(inputs) : inputs), 0.0f);
}

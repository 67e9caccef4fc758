// Vectors of one instruction set, by the compiler's vector types. Included inside a namespace of its own by each isa_*.cpp.

using I32 = std::int32_t __attribute__((vector_size(sizeof(F32))));
constexpr int W = sizeof(F32) / sizeof(float);

inline F32 load(const float* p) {
  F32 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, F32 v) { std::memcpy(p, &v, sizeof v); }
inline F32 splat(float x) { return x - F32{}; }
inline I32 bits(F32 x) { return reinterpret_cast<I32>(x); }
inline F32 from_bits(I32 x) { return reinterpret_cast<F32>(x); }

inline F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}
inline F32 max(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
inline F32 min(F32 a, F32 b) { return -max(-a, -b); }
inline F32 magnitude(F32 x) { return from_bits(bits(x) & 0x7fffffff); }

inline float sum(F32 v) { // by halves, so that the order does not hang on the compiler
  alignas(sizeof(F32)) float a[W];
  std::memcpy(a, &v, sizeof v);
  for (int n = W / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++) a[i] += a[i + n];
  return a[0];
}
inline float highest(F32 v) {
  alignas(sizeof(F32)) float a[W];
  std::memcpy(a, &v, sizeof v);
  for (int n = W / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++) a[i] = a[i] > a[i + n] ? a[i] : a[i + n];
  return a[0];
}

inline bool any_above(F32 v, float bound) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(v, splat(bound), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(v, splat(bound), _CMP_GT_OQ)) != 0;
#else
  return highest(v) > bound;
#endif
}

inline F32 polynomial(F32 r) { // e^r near 0
  F32 p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  return fma(p, r * r, r + 1.0f);
}
// Cephes' expf: 2^n times a polynomial; 0 below -87.3.
inline F32 exp(F32 x) {
#if defined(__AVX512F__)
  const F32 within = max(x, splat(-150.0f)); // 2^-217 is 0
  const F32 n = _mm512_roundscale_ps(within * splat(1.44269504f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const F32 rest = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), within));
  return _mm512_scalef_ps(polynomial(rest), n);
#else
  const F32 bounded = min(max(x, splat(-87.3f)), splat(88.7f));
  const F32 shift = splat(12582912.0f); // 1.5 * 2^23: adding it rounds to a whole number
  const F32 rounded = fma(bounded, splat(1.44269504f), shift) - shift;
  F32 r = fma(rounded, splat(-0.693359375f), bounded);
  r = fma(rounded, splat(2.12194440e-4f), r);
  const F32 p = polynomial(r);
  const I32 exponent = (__builtin_convertvector(rounded, I32) + 127) << 23;
  const F32 value = p * from_bits(exponent);
  return x < splat(-87.3f) ? F32{} : value;
#endif
}

inline F32 sigmoid(F32 x) { return 1.0f / (1.0f + exp(-x)); }
inline F32 tanh(F32 x) { // 1 - 2 / (e^2x + 1), and x - x^3/3 + 2x^5/15 where that would lose digits
  const F32 large = 1.0f - 2.0f / (exp(x + x) + 1.0f);
  const F32 s = x * x;
  const F32 small = x * fma(s, fma(s, fma(s, splat(-17.0f / 315), splat(2.0f / 15)), splat(-1.0f / 3)), splat(1.0f));
  return magnitude(x) < splat(0.15f) ? small : large;
}
// Abramowitz and Stegun 7.1.26, to 1.5e-7.
inline F32 erf(F32 x) {
  const F32 a = magnitude(x), t = 1.0f / fma(a, splat(0.3275911f), splat(1.0f));
  F32 p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const F32 y = 1.0f - p * t * exp(-a * a);
  return x < F32{} ? -y : y;
}

template <Activation A> inline F32 activated(F32 x) {
  if constexpr (A == Activation::relu) return max(x, F32{});
  if constexpr (A == Activation::gelu) return 0.5f * x * (1.0f + erf(x * 0.70710678f));
  if constexpr (A == Activation::gelu_tanh) return x * sigmoid(1.5957691216f * fma(x * x, x * 0.044715f, x));
  if constexpr (A == Activation::silu) return x * sigmoid(x);
  if constexpr (A == Activation::tanh) return tanh(x);
  return x;
}

// Calls f(std::integral_constant<Activation, a>).
template <class F> inline void with_activation(Activation a, F f) {
  switch (a) {
  case Activation::relu: return f(std::integral_constant<Activation, Activation::relu>{});
  case Activation::gelu: return f(std::integral_constant<Activation, Activation::gelu>{});
  case Activation::gelu_tanh: return f(std::integral_constant<Activation, Activation::gelu_tanh>{});
  case Activation::silu: return f(std::integral_constant<Activation, Activation::silu>{});
  case Activation::tanh: return f(std::integral_constant<Activation, Activation::tanh>{});
  case Activation::none: return f(std::integral_constant<Activation, Activation::none>{});
  }
}

inline float to_bfloat16(float x) { // to nearest, ties to even
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  if ((u & 0x7fffffff) > 0x7f800000) return x;
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
  std::memcpy(&x, &u, 4);
  return x;
}
inline std::uint16_t upper_half(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<std::uint16_t>(u >> 16);
}

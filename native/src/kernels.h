// What the engine asks of one instruction set. No model, no threads: every function runs on its caller's thread.
//
// Shape letters: N outputs, K inputs of a matrix, M rows of activations, E size of an attention head. Activations are
// float32. A result depends on its own row only: sums over K run in one order for any M.

#pragma once

#include <cstddef>
#include <cstdint>

namespace weft {

enum class Precision : std::uint8_t { float32, bfloat16, int8 };

enum class Activation : std::uint8_t { none, relu, gelu, gelu_tanh, silu, tanh };

// Positions in a block of a key/value cache.
constexpr int kBlock = 16;

// Floats that rows of activations are padded to, so that products may write whole panels.
constexpr int kPad = 64;

constexpr int padded(int n, int to = kPad) { return (n + to - 1) / to * to; }

// A weight matrix [N, K] in panels of `Kernels::panel` outputs each, as its instruction set reads them.
struct Matrix {
  Precision precision = Precision::float32;
  int outputs = 0, inputs = 0;
  const std::byte* panels = nullptr;
  std::size_t panel_bytes = 0;
  const float* scales = nullptr;         // int8: [N padded], what a weight of 1 stands for
  const std::int32_t* offsets = nullptr; // int8: [N padded], what unsigned activations add to a sum
  const float* bias = nullptr;           // [N padded] or null
};

// out[m, n] = activation(x[m] . matrix[n] + bias[n]) (+ residual[m, n]), for a range of panels.
struct Product {
  const Matrix* matrix;
  const std::byte* operand; // M rows as `prepare` wrote them
  std::size_t operand_stride;
  const float* operand_scales; // int8: [M]
  int rows;
  Activation activation;
  const float* residual; // or null; may be `out`
  float* out;
  std::ptrdiff_t stride; // of out and residual, in floats
  int column = 0;        // the output that out[0] stands for
};

// Attention of the M rows of one source over its blocks, for the G query heads of one key/value head.
struct Attention {
  int rows, group, size, blocks;
  const float* queries; // row m, head g at m * query_stride + g * E
  std::ptrdiff_t query_stride;
  const std::int32_t* positions;        // [M]
  const std::uint16_t* const* visible;  // [M], each [blocks]: a bit set where the row may look; null: wherever there is a key
  bool narrow;                          // keys and values are bfloat16
  const std::byte* const* keys;         // [blocks], each [E / group, kBlock, group], as a panel of a matrix
  const std::byte* const* values;       // [blocks], each [kBlock, padded E]
  const std::int32_t* key_positions;    // [blocks * kBlock]; below 0 where there is none
  float scale;                          // of products of queries and keys
  float soft_cap;                       // 0: none
  bool causal;                          // a key must not stand after the query
  int window;                           // 0, or least distance that is too far
  const float* bias;                    // null, or [G, 2 * bias_reach + 1] by distance key - query, clamped
  int bias_reach;
  const float* slopes; // null, or [G]: ALiBi
  float slope_scale;
  bool slopes_rounded;
  float* out; // as queries
  std::ptrdiff_t out_stride;
  float* scores;  // scratch, `attention_scratch` floats
  float* weights; // null, or [M, G, blocks * kBlock]: where the attention went
  const std::byte* const* later; // [later_blocks], of later_bytes each: what is attended to next
  int later_blocks;
  std::size_t later_bytes;
};

constexpr int kQueries = 4; // rows of scores that `attend` keeps at once

constexpr std::size_t attention_scratch(int size, int blocks) {
  return static_cast<std::size_t>(kQueries) * (blocks * kBlock + padded(size));
}

// The likeliest of some logits, and what a softmax over them needs.
struct Best {
  int count = 0; // how many are kept at most
  int found = 0;
  float* values = nullptr; // [count], falling
  std::int32_t* ids = nullptr;
};

struct Kernels {
  const char* name;
  int panel; // outputs of a panel

  std::size_t (*panel_bytes)(Precision, int inputs);
  std::size_t (*operand_bytes)(Precision, int inputs);

  // rows: [count, K], count <= panel; the rest of the panel becomes zero. scales, offsets: of this panel, int8 only.
  void (*pack)(Precision, const float* rows, int count, int inputs, std::byte* panel, float* scales, std::int32_t* offsets);
  // Output `row` of the matrix to `place` of another panel of the same inputs.
  void (*copy_row)(const Matrix&, int row, std::byte* panel, int place);
  // Row `row` of the matrix times `scale`, [K].
  void (*unpack)(const Matrix&, int row, float scale, float* out);
  // One row of activations [K] as a product takes it; scale: int8 only.
  void (*prepare)(Precision, const float* x, int inputs, std::byte* operand, float* scale);
  void (*product)(const Product&, int first_panel, int last_panel);

  void (*layer_norm)(const float* x, int n, const float* weight, const float* bias, float epsilon, float* out);
  void (*rms_norm)(const float* x, int n, const float* weight, float offset, float epsilon, float* out);
  void (*activate)(Activation, float* x, int n);
  void (*scale)(float factor, float* x, int n);
  void (*add)(const float* x, int n, float* out);
  // Turns pairs (i, i + half) of x by cos[i], sin[i].
  void (*rotate)(const float* cos, const float* sin, int half, float* x);
  void (*gate)(Activation, const float* gate, const float* up, float* out, int n);
  void (*attend)(const Attention&);
  // Puts keys [E] and values [E] at `place` of a block whose keys and values begin there.
  void (*remember)(bool narrow, const float* keys, const float* values, int size, int place, std::byte* all_keys,
                   std::byte* all_values);

  // Adds logits [n], of ids from `first`, to `best`; highest and sum: of exp(logit - highest) over these n.
  void (*scan)(const float* logits, int n, int first, Best& best, float& highest, float& sum);
  // out [n]: the logits that are nearest to `centre` and have `share` of the probability, exp(logit - log_sum) each, with all that
  // are as near as the last of them; -infinity for others. distances, weights: scratch, [padded(n)].
  void (*nearest)(const float* logits, int n, float log_sum, float centre, float share, float* distances, float* weights, float* out);
};

extern const Kernels kPortable;
#if defined(WEFT_X86)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#endif

// The best of this machine; WEFT_ISA names another (portable, avx2, avx512). Throws std::runtime_error for one that it lacks.
const Kernels& choose_kernels();

} // namespace weft

// Packing, preparing and multiplying at odd sizes. What int8 and bfloat16 may be off by follows from their rounding.

#include <algorithm>

#include "check.h"

namespace weft {

namespace {

struct Packed {
  Matrix matrix;
  std::vector<std::byte> panels;
  std::vector<float> scales, bias;
  std::vector<std::int32_t> offsets;
};

int panels_of(const Kernels& k, int outputs) { return (outputs + k.panel - 1) / k.panel; }

void pack(const Kernels& k, Precision precision, const std::vector<float>& weights, int outputs, int inputs, Packed& to) {
  Matrix& m = to.matrix;
  m.precision = precision;
  m.outputs = outputs;
  m.inputs = inputs;
  m.panel_bytes = k.panel_bytes(precision, inputs);
  to.panels.resize(m.panel_bytes * panels_of(k, outputs));
  to.scales.resize(padded(outputs));
  to.offsets.resize(padded(outputs));
  for (int first = 0; first < outputs; first += k.panel)
    k.pack(precision, weights.data() + static_cast<std::size_t>(first) * inputs, std::min(k.panel, outputs - first), inputs,
           to.panels.data() + first / k.panel * m.panel_bytes, to.scales.data() + first, to.offsets.data() + first);
  m.panels = to.panels.data();
  m.scales = to.scales.data();
  m.offsets = to.offsets.data();
  if (!to.bias.empty()) m.bias = to.bias.data();
}

struct Operand {
  std::vector<std::byte> bytes;
  std::vector<float> scales;
  std::size_t stride;
};

Operand prepare(const Kernels& k, Precision precision, const std::vector<float>& x, int rows, int inputs) {
  Operand found{{}, std::vector<float>(rows), k.operand_bytes(precision, inputs)};
  found.bytes.resize(found.stride * rows);
  for (int m = 0; m < rows; m++)
    k.prepare(precision, x.data() + m * inputs, inputs, found.bytes.data() + m * found.stride, &found.scales[m]);
  return found;
}

Product product_of(const Packed& packed, const Operand& operand, int row, int rows, Activation activation, float* out) {
  return {&packed.matrix, operand.bytes.data() + row * operand.stride, operand.stride,
          packed.matrix.precision == Precision::int8 ? operand.scales.data() + row : nullptr, rows, activation,
          nullptr, out, padded(packed.matrix.outputs)};
}

double top(const float* x, int n) {
  double found = 0;
  for (int i = 0; i < n; i++) found = std::max<double>(found, std::fabs(x[i]));
  return found;
}

struct Expected {
  double value, error;
};

// exact: every number is one that the precision has.
Expected dot(Precision precision, const float* w, const float* x, int n, bool exact) {
  double value = 0, size = 0, error = 0;
  const double step_w = top(w, n) / 127, step_x = top(x, n) / 127;
  for (int i = 0; i < n; i++) {
    value += static_cast<double>(w[i]) * x[i];
    size += std::fabs(static_cast<double>(w[i]) * x[i]);
    error += 0.5 * step_w * std::fabs(x[i]) + 0.5 * step_x * std::fabs(w[i]) + 0.25 * step_w * step_x;
  }
  const double float_error = size * (n + 8) * 1.2e-7 + 1e-30;
  if (exact) return {value, float_error};
  if (precision == Precision::int8) return {value, error * 1.0001 + float_error};
  return {value, float_error + (precision == Precision::bfloat16 ? size * 2.001 / 256 : 0)};
}

void test_product(const Kernels& k, Chance& chance, Precision precision, int outputs, int inputs, int rows, bool extreme) {
  const std::string what = std::string(k.name) + " product " + std::to_string(static_cast<int>(precision)) + " [" +
                           std::to_string(rows) + ", " + std::to_string(inputs) + "] x " + std::to_string(outputs);
  auto w = chance.numbers(static_cast<std::size_t>(outputs) * inputs, 0.3f), x = chance.numbers(rows * inputs, 2);
  if (extreme) { // sums as large as they get, which int8 adds up without saturating
    for (float& a : w) a = chance.below(5) ? 1.0f : -1.0f;
    for (float& a : x) a = chance.below(5) ? 1.0f : -1.0f;
  }
  Packed packed;
  if (chance.coin()) {
    packed.bias = chance.numbers(outputs);
    packed.bias.resize(padded(outputs));
  }
  pack(k, precision, w, outputs, inputs, packed);
  const Operand operand = prepare(k, precision, x, rows, inputs);
  const auto activation = static_cast<Activation>(chance.below(6));
  const int stride = padded(outputs), panels = panels_of(k, outputs);
  std::vector<float> out = chance.numbers(rows * stride), before = out;
  Product product = product_of(packed, operand, 0, rows, activation, out.data());
  if (chance.coin()) product.residual = out.data();
  const int middle = chance.below(panels + 1); // in two pieces
  k.product(product, 0, middle);
  k.product(product, middle, panels);
  for (int m = 0; m < rows; m++)
    for (int n = 0; n < outputs; n++) {
      const auto [sum, error] = dot(precision, w.data() + static_cast<std::size_t>(n) * inputs, x.data() + m * inputs, inputs,
                                     extreme);
      const double z = sum + (packed.matrix.bias ? packed.bias[n] : 0);
      const double added = product.residual ? before[m * stride + n] : 0;
      near(out[m * stride + n], weft::activation(activation, z) + added, 1.2 * error + 2e-6 * (1 + std::fabs(z)), what);
    }
  std::vector<float> alone(stride), last(k.panel);
  for (int m = 0; m < rows; m++) {
    Product one = product_of(packed, operand, m, 1, activation, alone.data());
    alone.assign(before.begin() + m * stride, before.begin() + (m + 1) * stride);
    if (product.residual) one.residual = alone.data();
    k.product(one, 0, panels);
    check(std::equal(alone.begin(), alone.begin() + outputs, out.begin() + m * stride), what + ": a row alone differs");
    one.residual = nullptr; // the last panel by itself, into a place of its own
    one.out = last.data();
    one.column = (panels - 1) * k.panel;
    k.product(one, panels - 1, panels);
    for (int n = one.column; n < outputs && !product.residual; n++)
      check(last[n - one.column] == out[m * stride + n], what + ": a panel by itself differs");
  }
}

void test_unpack(const Kernels& k, Chance& chance, Precision precision, int outputs, int inputs) {
  const auto w = chance.numbers(static_cast<std::size_t>(outputs) * inputs);
  Packed packed;
  pack(k, precision, w, outputs, inputs, packed);
  std::vector<float> row(inputs);
  for (int n = 0; n < outputs; n++) {
    const float* expected = w.data() + static_cast<std::size_t>(n) * inputs;
    k.unpack(packed.matrix, n, 3, row.data());
    const double step = precision == Precision::int8 ? 0.5001 * top(expected, inputs) / 127 : 0;
    for (int i = 0; i < inputs; i++)
      near(row[i], 3.0 * expected[i], 3 * step + 3e-7 + (precision == Precision::bfloat16 ? 3 / 256.0 * std::fabs(expected[i]) : 0),
           std::string(k.name) + " unpack");
  }
}

} // namespace

void test_products(const Kernels& k) {
  Chance chance;
  constexpr Precision kPrecisions[] = {Precision::float32, Precision::bfloat16, Precision::int8};
  for (const Precision precision : kPrecisions)
    for (const int outputs : {1, 3, 15, 16, 17, 63, 64, 65, 129, 200})
      for (const int inputs : {1, 2, 3, 5, 31, 64, 67, 130}) {
        for (const int rows : {1, 2, 5, 6, 7, 13, 24}) test_product(k, chance, precision, outputs, inputs, rows, false);
        test_product(k, chance, precision, outputs, inputs, 3, true);
        test_unpack(k, chance, precision, outputs, inputs);
      }
  for (const Precision precision : kPrecisions) test_product(k, chance, precision, 70, 2051, 9, true);
}

} // namespace weft

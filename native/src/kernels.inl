// One instruction set's kernels. Included by each isa_*.cpp inside its namespace, after F32 and kPanel.

#include "simd.h"
#include "rows.inl"
#include "product.inl"
#include "attention.inl"

constexpr Kernels table(const char* name) {
  return {.name = name,
          .panel = kPanel,
          .panel_bytes = panel_bytes,
          .operand_bytes = operand_bytes,
          .pack = pack,
          .copy_row = copy_row,
          .unpack = unpack,
          .prepare = prepare,
          .product = product,
          .layer_norm = layer_norm,
          .rms_norm = rms_norm,
          .activate = activate,
          .scale = scale,
          .add = add,
          .rotate = rotate,
          .gate = gate,
          .attend = attend,
          .remember = remember,
          .scan = scan,
          .nearest = nearest};
}

#include "isa.h"

namespace weft {
namespace avx2 {
using F32 = __m256;
constexpr int kPanel = 16;
#include "kernels.inl"
} // namespace avx2
const Kernels kAvx2 = avx2::table("avx2");
} // namespace weft

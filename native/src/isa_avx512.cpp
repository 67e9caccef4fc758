#include "isa.h"

namespace weft {
namespace avx512 {
using F32 = __m512;
constexpr int kPanel = 64;
#include "kernels.inl"
} // namespace avx512
const Kernels kAvx512 = avx512::table("avx512");
} // namespace weft

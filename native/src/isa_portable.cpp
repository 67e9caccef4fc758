#include "isa.h"

namespace weft {
namespace portable {
using F32 = float __attribute__((vector_size(16)));
constexpr int kPanel = 16;
#include "kernels.inl"
} // namespace portable
const Kernels kPortable = portable::table("portable");
} // namespace weft

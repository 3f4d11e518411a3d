#include "kernels_impl.h"

namespace cpm::spectral {

const Kernels* avx2_kernels() {
    static constexpr Kernels kernels = table("avx2");
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kernels : nullptr;
}

}  // namespace cpm::spectral

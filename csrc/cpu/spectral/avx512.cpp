#include "kernels_impl.h"

namespace cpm::spectral {

const Kernels* avx512_kernels() {
    static constexpr Kernels kernels = table("avx512");
    return __builtin_cpu_supports("avx512f") ? &kernels : nullptr;
}

}  // namespace cpm::spectral

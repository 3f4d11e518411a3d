#include "kernels_impl.h"

namespace cpm::spectral {

const Kernels* portable_kernels() {
    static constexpr Kernels kernels = table("portable");
    return &kernels;
}

}  // namespace cpm::spectral

// The table of AVX-512 with the sums of bfloat16 by its products of pairs.

#include "pair_product.h"
#include "weights.h"
#include "winograd.h"

namespace cpm::spectral {

const Kernels* avx512_bf16_kernels() {
    if (avx512_kernels() == nullptr || !__builtin_cpu_supports("avx512bf16")) return nullptr;
    static const Kernels kernels = [] {
        Kernels made = *avx512_kernels();
        made.name = "avx512_bf16";
        made.left_floats[1] = made.weight_floats[1] = kPairs;
        made.columns_forward[1] = columns_forward<ComplexPairs>;
        made.multiply[1] = multiply_pairs;
        made.weight_columns[1] = weight_columns<ComplexPairs>;
        made.direct_cells[1] = direct_cells<Bfloat16>;
        made.direct_rows[1] = direct_rows<Bfloat16>;
        made.winograd_read[1] = winograd_read<Bfloat16>;
        made.winograd_multiply[1] = winograd_multiply<Bfloat16>;
        return made;
    }();
    return &kernels;
}

}  // namespace cpm::spectral

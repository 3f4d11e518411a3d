// The matrix product of a frequency, (a + ib)(c + id), by products of pairs of bfloat16, added in float:
//
//     re = (a, b) . (c, -d),  im = (a, b) . (d, c)
//
// A complex number is a pair, 4 bytes. A micro-kernel keeps R rows x one vector of columns, two sums each, in registers;
// (a, b) is broadcast, and (c, -d) and (d, c) are made of (c, d) for all rows.
//
// Expected of two instructions for each complex product, where product.h needs three: 1.5 times its speed, with a third of
// its bytes of maps and half of those of weights. Measured in the convolution on two Zen 5 cores, whose pairs take as long
// as a vector of float: 1.7 times (spectral_conv.cpp, version 9).
#pragma once

#include "pair_vectors.h"
#include "product.h"

namespace cpm::spectral {
namespace {

struct ComplexPairs {
    static constexpr int kFloats = kPairs;
    CPM_INLINE static void put(Complex z, float* to, float*) { store_complex_pairs(z, to); }
};

template <int R>
void multiply_pair_rows(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y,
                        const float* ahead, int64_t ahead_step, const Product& shape) {
    const int64_t a_row = shape.a_row, a_lane = shape.a_lane, b_k = shape.b_k;
    Complex sums[R];
    unroll<R>([&](auto r) CPM_INLINE_LAMBDA { sums[r] = {Vector{}, Vector{}}; });
    for (int64_t k = 0; k < shape.inner; k += shape.lanes, a += shape.a_block) {
        const int64_t lanes = least(shape.lanes, shape.inner - k);
        const float* from = a;
        for (int64_t lane = 0; lane < lanes; ++lane, from += a_lane, b += b_k) {
            const PairVector weight = load_pairs(b), real = conjugate(weight), imaginary = swapped(weight);
            prefetch<false, 2>(ahead);
            ahead += ahead_step;
            unroll<R>([&](auto r) CPM_INLINE_LAMBDA {
                int32_t bits;
                memcpy(&bits, from + r * a_row, sizeof(bits));
                const PairVector value = repeated_pair(bits);
                add_products(sums[r].re, real, value);
                add_products(sums[r].im, imaginary, value);
            });
        }
    }
    unroll<R>([&](auto r) CPM_INLINE_LAMBDA { store_complex(y + r * shape.y_row, sums[r]); });
}

RowKernel pair_row_kernel(int64_t rows) {
    static_assert(kProductRows <= 8);
    switch (rows) {
        case 1: return multiply_pair_rows<1>;
        case 2: return multiply_pair_rows<2>;
        case 3: return multiply_pair_rows<3>;
        case 4: return multiply_pair_rows<4>;
        case 5: return multiply_pair_rows<5>;
        case 6: return multiply_pair_rows<6>;
        case 7: return multiply_pair_rows<7>;
        default: return multiply_pair_rows<8>;
    }
}

// Only without `conjugate`.
void multiply_pairs(const Product& job, int64_t begin, int64_t end) { multiply_by(pair_row_kernel, job, begin, end); }

}  // namespace
}  // namespace cpm::spectral

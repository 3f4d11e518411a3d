// The matrix product of a frequency, (a + ib)(c + id) by three multiplications:
//
//     k = c (a + b),  re = k - b (c + d),  im = k + a (d - c);  with conj(c + id) d changes its sign
//
// A micro-kernel keeps R rows x one vector of columns, three sums each, in registers. a, b and a + b are stored and
// broadcast; c + d and d - c are computed on the fly, by adders that the products leave idle. Meanwhile a part of the
// next products' data is prefetched.
//
// Expected of three multiplications: 4/3 of the speed of four, less what a + b costs in loads. Measured with everything
// in cache on one core of an EPYC 9004, whose peak is 116 GFLOP/s, counting 8 FLOP a complex product: four
// multiplications, 6 rows x 2 vectors 115, 12 x 1 114; three, 4 x 2 143, 8 x 1 147, 6 x 1 146. In the convolution 125
// to 141.
#pragma once

#include "dft.h"

namespace cpm::spectral {
namespace {

template <int R, bool Conjugate>
void multiply_rows(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y,
                   const float* ahead, int64_t ahead_step, const Product& shape) {
    const int64_t a_row = shape.a_row, a_lane = shape.a_lane, b_k = shape.b_k;
    Vector both[R], left[R], right[R];
    unroll<R>([&](auto r) CPM_INLINE_LAMBDA { both[r] = left[r] = right[r] = Vector{}; });
    for (int64_t k = 0; k < shape.inner; k += shape.lanes, a += shape.a_block) {
        const int64_t lanes = least(shape.lanes, shape.inner - k);
        const float* from = a;
        for (int64_t lane = 0; lane < lanes; ++lane, from += a_lane, b += b_k) {
            const Vector c = load(b), d = load(b + kBlock);
            if constexpr (!Conjugate) {
                prefetch<false, 2>(ahead);
                ahead += ahead_step;
            }
            const Vector difference = Conjugate ? -d - c : d - c, sum = Conjugate ? c - d : c + d;
            unroll<R>([&](auto r) CPM_INLINE_LAMBDA {
                const float* row = from + r * a_row;
                both[r] += c * row[2 * kBlock];
                left[r] += difference * row[0];
                right[r] += sum * row[kBlock];
            });
        }
    }
    unroll<R>([&](auto r) CPM_INLINE_LAMBDA {
        store_complex(y + r * shape.y_row, {both[r] - right[r], both[r] + left[r]});
    });
}

using RowKernel = void (*)(const float*, const float*, float*, const float*, int64_t, const Product&);

template <bool Conjugate>
RowKernel row_kernel(int64_t rows) {
    static_assert(kProductRows == 4 || kProductRows == 8);
    if constexpr (kProductRows == 8) {
        switch (rows) {
            case 5: return multiply_rows<5, Conjugate>;
            case 6: return multiply_rows<6, Conjugate>;
            case 7: return multiply_rows<7, Conjugate>;
            case 8: return multiply_rows<8, Conjugate>;
            default: break;
        }
    }
    switch (rows) {
        case 1: return multiply_rows<1, Conjugate>;
        case 2: return multiply_rows<2, Conjugate>;
        case 3: return multiply_rows<3, Conjugate>;
        default: return multiply_rows<4, Conjugate>;
    }
}

// By the kernels that find_kernel returns for numbers of rows.
template <typename Find>
void multiply_by(const Find& find_kernel, const Product& job, int64_t begin, int64_t end) {
    // The fewest passes over b, of equal size.
    const int64_t passes = (job.rows + kProductRows - 1) / kProductRows;
    const int64_t calls = most(1, (end - begin) * job.columns * passes);
    int64_t call = 0;
    for (int64_t frequency = begin; frequency < end; ++frequency) {
        const float* a = job.a + frequency * job.a_frequency;
        for (int64_t column = 0; column < job.columns; ++column) {
            const float* b = job.b + frequency * job.b_frequency + column * job.b_column;
            float* y = job.y + frequency * job.y_frequency + column * job.y_column;
            for (int64_t pass = 0; pass < passes; ++pass, ++call) {
                const int64_t row = job.rows * pass / passes, rows = job.rows * (pass + 1) / passes - row;
                const RowKernel kernel = find_kernel(rows);
                const int64_t start = job.ahead_floats * call / calls, stop = job.ahead_floats * (call + 1) / calls;
                const int64_t ahead_step = (stop - start + job.inner - 1) / most(1, job.inner);
                for (int lane = 0; lane < kBlock; lane += kLanes) {
                    kernel(a + row * job.a_row, b + lane, y + row * job.y_row + lane, job.ahead + start, ahead_step, job);
                }
            }
        }
    }
}

void multiply(const Product& job, int64_t begin, int64_t end) {
    multiply_by(job.conjugate ? row_kernel<true> : row_kernel<false>, job, begin, end);
}

}  // namespace
}  // namespace cpm::spectral

// A 3x3 convolution of few inputs and the gradient of its weight, two rows of cells at a time: with 3 inputs, a row of the
// window is 9 consecutive floats of a row of the image. Also products of two rows, for the moments of patches.
#pragma once

#include "dft.h"

namespace cpm::spectral {
namespace {

constexpr int kNarrowCells = 8, kNarrowTaps = 9;

// R cells side by side; Inputs of 0 are any number.
template <int R, int Inputs>
CPM_INLINE void narrow_cells(const NarrowRows& job, int64_t row, int64_t cell, int lane) {
    const int64_t inputs = Inputs == 0 ? job.inputs : Inputs, step = (job.cells + 2) * inputs;
    Vector sums[R];
    unroll<R>([&](auto r) CPM_INLINE_LAMBDA { sums[r] = load(job.bias + lane); });
    const float* weights = job.weights + lane;
    for (int64_t y = 0; y < 3; ++y) {
        const float* from = job.patch + (row + y) * step + cell * inputs;
        for (int64_t tap = 0; tap < 3 * inputs; ++tap, weights += kBlock) {
            const Vector weight = load(weights);
            unroll<R>([&](auto r) CPM_INLINE_LAMBDA { sums[r] += weight * from[r * inputs + tap]; });
        }
    }
    float* to = job.map + (row * job.cells + cell) * kBlock + lane;
    unroll<R>([&](auto r) CPM_INLINE_LAMBDA { store(to + r * kBlock, sums[r]); });
}

template <int Inputs>
void narrow_rows(const NarrowRows& job) {
    for (int64_t row = 0; row < 2; ++row) {
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            int64_t cell = 0;
            for (; cell + kNarrowCells <= job.cells; cell += kNarrowCells) {
                narrow_cells<kNarrowCells, Inputs>(job, row, cell, lane);
            }
            for (; cell < job.cells; ++cell) narrow_cells<1, Inputs>(job, row, cell, lane);
        }
    }
}

void narrow_conv(const NarrowRows& job) { job.inputs == 3 ? narrow_rows<3>(job) : narrow_rows<0>(job); }

// Taps of one row of the window, the first of which meets `from` at the first cell.
template <int Taps>
CPM_INLINE void narrow_taps(const NarrowRows& job, const float* from, double* to, int lane) {
    const int64_t step = (job.cells + 2) * job.inputs;
    Vector sums[Taps] = {};
    for (int64_t row = 0; row < 2; ++row) {
        const float* gradient = job.map + row * job.cells * kBlock + lane;
        const float* value = from + row * step;
        for (int64_t cell = 0; cell < job.cells; ++cell, gradient += kBlock, value += job.inputs) {
            const Vector each = load(gradient);
            unroll<Taps>([&](auto tap) CPM_INLINE_LAMBDA { sums[tap] += each * value[tap]; });
        }
    }
    for (int tap = 0; tap < Taps; ++tap) {
        for (int i = 0; i < kLanes; ++i) to[tap * kBlock + lane + i] += static_cast<double>(sums[tap][i]);
    }
}

void narrow_gradient(const NarrowRows& job) {
    const int64_t taps = 3 * job.inputs;
    for (int64_t y = 0; y < 3; ++y) {
        const float* from = job.patch + y * (job.cells + 2) * job.inputs;
        double* to = job.dweight + y * taps * kBlock;
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            int64_t tap = 0;
            for (; tap + kNarrowTaps <= taps; tap += kNarrowTaps) {
                narrow_taps<kNarrowTaps>(job, from + tap, to + tap * kBlock, lane);
            }
            for (; tap < taps; tap += 3) narrow_taps<3>(job, from + tap, to + tap * kBlock, lane);
        }
    }
}

// Values kDoubles * inputs apart have the same input, so lane by lane a sum is of one.
template <int Distances>
CPM_INLINE void narrow_distances(const RowPair& job, int64_t first, int64_t distance) {
    const int64_t step = job.inputs * kDoubles;
    Doubles sums[Distances] = {};
    for (int64_t i = first; i < job.values; i += step) {
        const Doubles a = load_doubles(job.a + i);
        const double* b = job.b + i + distance;
        unroll<Distances>([&](auto d) CPM_INLINE_LAMBDA { sums[d] = sum_product(sums[d], a, load_doubles(b + d)); });
    }
    double* to = job.sums + distance * step + first;
    for (int d = 0; d < Distances; ++d, to += step) {
        for (int lane = 0; lane < kDoubles; ++lane) to[lane] += sums[d][lane];
    }
}

void narrow_products(const RowPair& job) {
    for (int64_t first = 0; first < job.inputs * kDoubles; first += kDoubles) {
        int64_t d = 0;
        for (; d + kNarrowTaps <= job.distances; d += kNarrowTaps) narrow_distances<kNarrowTaps>(job, first, d);
        for (; d + 3 <= job.distances; d += 3) narrow_distances<3>(job, first, d);
        for (; d < job.distances; ++d) narrow_distances<1>(job, first, d);
    }
}

}  // namespace
}  // namespace cpm::spectral

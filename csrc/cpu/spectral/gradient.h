// The weight's gradient from spectra to taps. Only the k x k cells around cell 0 of a tile are needed: the other rows are
// dropped after the y transform, so that the x transform has k rows, and the sums over chunks are small.
#pragma once

#include "weights.h"

namespace cpm::spectral {
namespace {

// Frequencies k and -k of one column, or in unit 0 those at k of two columns as one.
struct FrequencyPair {
    Complex up, down;
};

CPM_INLINE FrequencyPair load_pair(const float* first, const float* second, bool two_columns) {
    const Complex a = load_complex(first), b = load_complex(second);
    if (!two_columns) return {a, b};
    return {{a.re - b.im, a.im + b.re}, {a.re + b.im, b.re - a.im}};
}

// The transpose of transform_columns: with the sums s and differences d of what belongs to k and to -k,
//
//     u[p] = sum of s cos(2 pi p k / t),  v[p] = sum of d sin(2 pi p k / t),  rows at +-p: u[p] +- i v[p]
template <int T, int R>
void gather_columns(const GradientColumns& job) {
    const bool two_columns = job.unit == 0;
    const int64_t row_floats = job.kernel * kComplex, step = job.frequency_step;
    for (int64_t task = 0; task < job.blocks * kBlock; ++task) {
        const int64_t block = task / kBlock, input = task % kBlock;
        if (input >= job.inputs) continue;
        float* rows = job.rows + block * job.block_step + input * row_floats;
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            const float* from = job.spectra + task * kComplex + lane;
            Complex u[R + 1] = {}, v[R + 1] = {};
            for (int k = 0; k <= T / 4; ++k) {
                const float *cos = kTurns<T>.cos[k], *sin = kTurns<T>.sin[k];
                const int far = T / 2 - k;
                FrequencyPair near = load_pair(from + k * step, from + second_of(T, job.unit, k) * step, two_columns);
                FrequencyPair off = load_pair(from + far * step, from + second_of(T, job.unit, far) * step, two_columns);
                // These values would otherwise count twice.
                if (k == 0) near.down = off.down = {Vector{}, Vector{}};
                if (4 * k == T) off.up = off.down = {Vector{}, Vector{}};
                const Complex even_up = near.up + off.down, even_down = near.down + off.up;
                const Complex odd_up = near.up - off.down, odd_down = near.down - off.up;
                const Complex sum[2] = {odd_up + odd_down, even_up + even_down};
                const Complex difference[2] = {odd_up - odd_down, even_up - even_down};
                u[0] = u[0] + sum[1];
                unroll<R>([&](auto j) CPM_INLINE_LAMBDA {
                    constexpr int even = j % 2;
                    u[j + 1] = {u[j + 1].re + sum[even].re * cos[j], u[j + 1].im + sum[even].im * cos[j]};
                    v[j + 1] = {v[j + 1].re + difference[even].re * sin[j], v[j + 1].im + difference[even].im * sin[j]};
                });
            }
            const auto add = [&](int slot, Complex value) CPM_INLINE_LAMBDA {
                float* to = rows + slot * kComplex + lane;
                store_complex(to, job.first_time ? value : load_complex(to) + value);
            };
            add(R, u[0]);
            unroll<R>([&](auto j) CPM_INLINE_LAMBDA {
                add(R + 1 + j, {u[j + 1].re - v[j + 1].im, u[j + 1].im + v[j + 1].re});
                add(R - 1 - j, {u[j + 1].re + v[j + 1].im, u[j + 1].im - v[j + 1].re});
            });
        }
    }
}

using ColumnGather = void (*)(const GradientColumns&);

template <int T>
ColumnGather column_gather(int kernel) {
    switch (kernel) {
        case 1: return gather_columns<T, 0>;
        case 3: return gather_columns<T, 1>;
        case 5: return gather_columns<T, 2>;
        case 7: return gather_columns<T, 3>;
        case 9: return gather_columns<T, 4>;
        case 11: return gather_columns<T, 5>;
        case 13: return gather_columns<T, 6>;
        default: return gather_columns<T, 7>;
    }
}

void gradient_columns(const GradientColumns& job) {
    switch (job.tile) {
        case 16: return column_gather<16>(job.kernel)(job);
        case 20: return column_gather<20>(job.kernel)(job);
        case 22: return column_gather<22>(job.kernel)(job);
        case 24: return column_gather<24>(job.kernel)(job);
        case 32: return column_gather<32>(job.kernel)(job);
        case 36: return column_gather<36>(job.kernel)(job);
        case 48: return column_gather<48>(job.kernel)(job);
        case 54: return column_gather<54>(job.kernel)(job);
        default: return column_gather<64>(job.kernel)(job);
    }
}

void gradient_rows(const GradientRows& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile);
    alignas(64) float z[kMaxTile * kComplex];
    const int64_t row_floats = job.kernel * kComplex, unit_step = blocks_of(job.outputs) * job.inputs * row_floats;
    // 1 / t^2 of the inverse transform, and the remaining factor 1/2 of both sides.
    const float scale = 0.25f / static_cast<float>(job.tile * job.tile);
    for (int64_t task = begin; task < end; ++task) {
        const int64_t first = task / job.inputs * kBlock, input = task % job.inputs;
        const int64_t outputs = least(kBlock, job.outputs - first);
        for (int row = 0; row < job.kernel; ++row) {
            const float* row0 = job.rows + task * row_floats + row / 2 * 2 * kComplex;
            const float* row1 = row / 2 * 2 + 1 < job.kernel ? row0 + kComplex : row0;
            for (int lane = 0; row % 2 == 0 && lane < kBlock; lane += kLanes) {
                combine_rows(row0 + lane, row1 + lane, unit_step, job.tile, z + lane);
                dft(z + kBlock + lane, z + lane, kComplex, z + kBlock + lane, z + lane, kComplex);
            }
            for (int tap = 0; tap < job.kernel; ++tap) {
                const float* value = z + place_of(tap, job.kernel, job.tile, false) * kComplex + row % 2 * kBlock;
                for (int64_t lane = 0; lane < outputs; ++lane) {
                    const int64_t pair = (first + lane) * job.inputs + input;
                    job.weight[(pair * job.kernel + row) * job.kernel + tap] = scale * value[lane];
                }
            }
        }
    }
}

}  // namespace
}  // namespace cpm::spectral

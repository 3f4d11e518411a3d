// Weights to spectra. A kernel has only k rows and columns that are not 0. Only the x transforms of its k rows are
// kept, slot s at cell s - k/2 of a tile: t/k times less than whole spectra, which every call would have to read from
// memory. The y transforms are made in the call, for as many weights as stay in cache until they are multiplied.
#pragma once

#include "columns.h"

namespace cpm::spectral {
namespace {

// Taps in the order of a tile's cells: reversed, so that the product of spectra is the network's correlation, and not
// reversed for its adjoint.
CPM_INLINE int64_t slot_of(int64_t tap, int kernel, bool turned) { return turned ? kernel - 1 - tap : tap; }

// The place of a tap in a tile: the kernel lies around cell 0.
CPM_INLINE int64_t place_of(int64_t tap, int kernel, int tile, bool turned) {
    return (slot_of(tap, kernel, turned) - kernel / 2 + tile) % tile;
}

// Copies weight[.., .., row, :] of 16 outputs and one input to every second half block of z, in a tile's order.
void stage_taps(const Weights& job, int64_t block, int64_t input, int64_t row, float scale, float* z) {
    const int64_t outputs = job.adjoint ? job.inputs : job.outputs, taps = job.kernel * job.kernel;
    for (int64_t tap = 0; tap < job.kernel; ++tap) {
        float* to = z + place_of(tap, job.kernel, job.tile, !job.adjoint) * kComplex;
        for (int lane = 0; lane < kBlock; ++lane) {
            const int64_t output = block * kBlock + lane;
            const int64_t pair = job.adjoint ? input * job.inputs + output : output * job.inputs + input;
            to[lane] = output < outputs ? scale * job.weight[pair * taps + row * job.kernel + tap] : 0.0f;
        }
    }
}

// Tasks run over blocks of outputs and inputs of the convolution that the spectra are for, inputs fastest.
void transform_weight(const Weights& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile);
    const int tile = job.tile, kernel = job.kernel;
    const int64_t inputs = job.adjoint ? job.outputs : job.inputs, outputs = job.adjoint ? job.inputs : job.outputs;
    const int64_t task_floats = kernel * kComplex, unit_step = blocks_of(outputs) * inputs * task_floats;
    // 1 / t^2 of the inverse transform, and the remaining factors 1/2 of weights and activations.
    const float scale = 0.25f / static_cast<float>(tile * tile);
    alignas(64) float taps[kMaxTile * kComplex] = {}, z[kMaxTile * kComplex];
    for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task / inputs, input = task % inputs;
        float* spectra = job.spectra + task * task_floats;
        for (int row = 0; row < kernel; row += 2) {
            const bool pair = row + 1 < kernel;
            stage_taps(job, block, input, row, scale, taps);
            stage_taps(job, block, input, pair ? row + 1 : row, pair ? scale : 0.0f, taps + kBlock);
            float* row0 = spectra + slot_of(row, kernel, !job.adjoint) * kComplex;
            float* row1 = pair ? spectra + slot_of(row + 1, kernel, !job.adjoint) * kComplex : row0;
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                dft(taps + lane, taps + kBlock + lane, kComplex, z + lane, z + kBlock + lane, kComplex);
                separate_rows(z + lane, tile, row0 + lane, row1 + lane, unit_step);
            }
        }
        // separate_rows has doubled all other units.
        for (int at = 0; at < kernel * kComplex; at += kLanes) store(spectra + at, load(spectra + at) * 2.0f);
    }
}

constexpr int kMaxRadius = kMaxKernel / 2;

// cos and sin of 2 pi place k / t for the places 1 to kMaxRadius.
template <int T>
struct Turns {
    float cos[T / 4 + 1][kMaxRadius], sin[T / 4 + 1][kMaxRadius];
};

template <int T>
constexpr Turns<T> make_turns() {
    Turns<T> table{};
    for (int k = 0; k <= T / 4; ++k) {
        for (int place = 1; place <= kMaxRadius; ++place) {
            table.cos[k][place - 1] = cosine(place * k, T);
            table.sin[k][place - 1] = sine(place * k, T);
        }
    }
    return table;
}

template <int T>
constexpr Turns<T> kTurns = make_turns<T>();

// Two frequencies +-k of x with cosine part a and sine part b: a -+ ib. In unit 0 real and imaginary parts of a and b
// belong to its two columns, and the result is frequency k of each.
template <typename Form>
CPM_INLINE void store_two(Complex a, Complex b, bool two_columns, float* first, float* second) {
    if (two_columns) {
        Form::put({a.re, -b.re}, first, first + kBlock);
        Form::put({a.im, -b.im}, second, second + kBlock);
    } else {
        Form::put({a.re + b.im, a.im - b.re}, first, first + kBlock);
        Form::put({a.re - b.im, a.im + b.re}, second, second + kBlock);
    }
}

// Returns a task's k rows, as floats in `buffer` where they are bfloat16.
CPM_INLINE const float* rows_of(const WeightColumns& job, int64_t task, int64_t floats, float* buffer) {
    if (!job.bf16) return static_cast<const float*>(job.spectra) + task * floats;
    const uint16_t* from = static_cast<const uint16_t*>(job.spectra) + task * floats;
    for (int64_t at = 0; at < floats; at += kLanes) store(buffer + at, load_bfloat16(from + at));
    return buffer;
}

// k rows at the cells -R to R. With the sums s and differences d of the rows at p and -p,
//
//     a = x[0] + sum of s[p] cos(2 pi p k / t),  b = sum of d[p] sin(2 pi p k / t),  X[+-k] = a -+ i b,
//
// and for t/2 - k the terms of odd p in a, of even p in b, change their sign. That makes R multiplications and 4
// additions a frequency; a fast transform of t = 54 with 9 rows has 4 more of both.
template <int T, int R, typename Form>
void transform_columns(const WeightColumns& job, int64_t begin, int64_t end) {
    constexpr int64_t row_floats = (2 * R + 1) * kComplex;
    const int64_t next_run = job.quads * job.column_step;
    alignas(64) float buffer[row_floats];
    for (int64_t task = begin; task < end; ++task) {
        const float* rows = rows_of(job, task, row_floats, buffer);
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            const float* middle = rows + R * kComplex + lane;
            const Complex origin = load_complex(middle);
            Complex sum[R + 1], difference[R + 1];
            unroll<R>([&](auto j) CPM_INLINE_LAMBDA {
                const Complex above = load_complex(middle + (j + 1) * kComplex);
                const Complex below = load_complex(middle - (j + 1) * kComplex);
                sum[j] = above + below;
                difference[j] = above - below;
            });
            float* to = job.columns + task * Form::kFloats + lane;
            for (int64_t quad = 0; quad < job.quads; ++quad, to += job.column_step) {
                const float *cos = kTurns<T>.cos[job.first_quad + quad], *sin = kTurns<T>.sin[job.first_quad + quad];
                // Terms of odd p, then of even p.
                Complex a[2] = {{Vector{}, Vector{}}, origin}, b[2] = {};
                unroll<R>([&](auto j) CPM_INLINE_LAMBDA {
                    constexpr int even = j % 2;
                    a[even] = {a[even].re + sum[j].re * cos[j], a[even].im + sum[j].im * cos[j]};
                    b[even] = {b[even].re + difference[j].re * sin[j], b[even].im + difference[j].im * sin[j]};
                });
                store_two<Form>(a[1] + a[0], b[0] + b[1], job.unit == 0, to, to + next_run);
                store_two<Form>(a[1] - a[0], b[0] - b[1], job.unit == 0, to + 2 * next_run, to + 3 * next_run);
            }
        }
    }
}

using ColumnTransform = void (*)(const WeightColumns&, int64_t begin, int64_t end);

template <int T, typename Form>
ColumnTransform column_transform(int kernel) {
    switch (kernel) {
        case 1: return transform_columns<T, 0, Form>;
        case 3: return transform_columns<T, 1, Form>;
        case 5: return transform_columns<T, 2, Form>;
        case 7: return transform_columns<T, 3, Form>;
        case 9: return transform_columns<T, 4, Form>;
        case 11: return transform_columns<T, 5, Form>;
        case 13: return transform_columns<T, 6, Form>;
        default: return transform_columns<T, 7, Form>;
    }
}

// Tasks run over blocks of outputs and inputs, inputs fastest.
template <typename Form>
void weight_columns(const WeightColumns& job, int64_t begin, int64_t end) {
    switch (job.tile) {
        case 16: return column_transform<16, Form>(job.kernel)(job, begin, end);
        case 20: return column_transform<20, Form>(job.kernel)(job, begin, end);
        case 22: return column_transform<22, Form>(job.kernel)(job, begin, end);
        case 24: return column_transform<24, Form>(job.kernel)(job, begin, end);
        case 32: return column_transform<32, Form>(job.kernel)(job, begin, end);
        case 36: return column_transform<36, Form>(job.kernel)(job, begin, end);
        case 48: return column_transform<48, Form>(job.kernel)(job, begin, end);
        case 54: return column_transform<54, Form>(job.kernel)(job, begin, end);
        default: return column_transform<64, Form>(job.kernel)(job, begin, end);
    }
}

}  // namespace
}  // namespace cpm::spectral

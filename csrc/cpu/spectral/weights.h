// Weights to spectra, and spectra of their gradient back. A kernel has only k rows and columns that are not 0, so there
// are k/2 transforms along x and t/2 along y for each pair of an input and 16 outputs.
#pragma once

#include "columns.h"

namespace cpm::spectral {
namespace {

// Where tap d stands in a tile: the kernel is laid about cell 0, turned around so that the product of spectra is the
// network's correlation, and not turned for its adjoint.
CPM_INLINE int64_t place_of(int64_t tap, int kernel, int tile, bool turned) {
    const int64_t radius = kernel / 2, place = turned ? radius - tap : tap - radius;
    return (place + tile) % tile;
}

// weight[.., .., row, :] of 16 outputs and one input to every second half block of z, as it lies in a tile.
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
    const Dft dft = find_dft<false>(job.tile);
    const int tile = job.tile, kernel = job.kernel;
    const int64_t inputs = job.adjoint ? job.outputs : job.inputs, outputs = job.adjoint ? job.inputs : job.outputs;
    const int64_t step = blocks_of(outputs) * inputs * kComplex, unit_step = kMaxKernel * kComplex;
    // 1 / t^2 of the inverse transform, and the halves that are left to be taken of weights and activations.
    const float scale = 0.25f / static_cast<float>(tile * tile);
    alignas(64) float taps[kMaxTile * kComplex] = {}, z[kMaxTile * kComplex];
    alignas(64) float rows[kMaxTile / 2 * kMaxKernel * kComplex];
    for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task / inputs, input = task % inputs;
        for (int row = 0; row < kernel; row += 2) {
            const bool pair = row + 1 < kernel;
            stage_taps(job, block, input, row, scale, taps);
            stage_taps(job, block, input, pair ? row + 1 : row, pair ? scale : 0.0f, taps + kBlock);
            float* row0 = rows + row * kComplex;
            float* row1 = pair ? row0 + kComplex : row0;
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                dft(taps + lane, taps + kBlock + lane, kComplex, z + lane, z + kBlock + lane, kComplex);
                separate_rows(z + lane, tile, row0 + lane, row1 + lane, unit_step);
            }
        }
        for (int64_t unit = 0; unit < tile / 2; ++unit) {
            alignas(64) float column[kMaxTile * kComplex] = {};
            for (int row = 0; row < kernel; ++row) {
                float* to = column + place_of(row, kernel, tile, !job.adjoint) * kComplex;
                const float* from = rows + unit * unit_step + row * kComplex;
                for (int lane = 0; lane < kComplex; lane += kLanes) store(to + lane, load(from + lane));
            }
            float* to = job.spectra + first_frequency(tile, unit) * step + task * kComplex;
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                if (unit == 0) {
                    dft(column + lane, column + kBlock + lane, kComplex, z + lane, z + kBlock + lane, kComplex);
                    separate_columns<false>(z + lane, tile, to + lane, step);
                } else {
                    dft(column + lane, column + kBlock + lane, kComplex, to + lane, to + kBlock + lane, step);
                }
            }
        }
    }
}

}  // namespace
}  // namespace cpm::spectral

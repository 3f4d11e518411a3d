// The weight's gradient from spectra to taps. Of a tile only the k x k cells about cell 0 are wanted: rows are dropped
// after the y transform, so that the x transform has k of them, and what is summed over chunks is small.
#pragma once

#include "weights.h"

namespace cpm::spectral {
namespace {

void gradient_columns(const GradientColumns& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<false>(job.tile);
    alignas(64) float z[kMaxTile * kComplex];
    const int64_t step = blocks_of(job.outputs) * job.inputs * kComplex;
    for (int64_t task = begin; task < end; ++task) {
        const float* from = job.spectra + task * kComplex;
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            if (job.unit == 0) {
                combine_columns(from + lane, step, job.tile, z + lane);
                dft(z + kBlock + lane, z + lane, kComplex, z + kBlock + lane, z + lane, kComplex);
            } else {
                dft(from + kBlock + lane, from + lane, step, z + kBlock + lane, z + lane, kComplex);
            }
        }
        float* to = job.rows + task * job.kernel * kComplex;
        for (int row = 0; row < job.kernel; ++row, to += kComplex) {
            const float* value = z + place_of(row, job.kernel, job.tile, false) * kComplex;
            for (int lane = 0; lane < kComplex; lane += kLanes) {
                store(to + lane, job.first_time ? load(value + lane) : load(to + lane) + load(value + lane));
            }
        }
    }
}

void gradient_rows(const GradientRows& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<false>(job.tile);
    alignas(64) float z[kMaxTile * kComplex];
    const int64_t row_floats = job.kernel * kComplex, unit_step = blocks_of(job.outputs) * job.inputs * row_floats;
    // 1 / t^2 of the inverse transform, and the halves left to be taken of both sides.
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

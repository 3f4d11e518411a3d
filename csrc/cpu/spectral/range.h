// The range of magnitudes in a map. In the frequency domain, the rounding error of every value in a tile is a fraction
// of the largest one, so outputs whose windows hold only small values are lost beside a large one.
#pragma once

#include "dft.h"
#include "unpool.h"

namespace cpm::spectral {
namespace {

// Updates the largest magnitude with `count` values; with a gate, only with those that it lets through.
CPM_INLINE void raise_largest(const float* from, const float* gate, int64_t count, Integers& vectors, int32_t& single) {
    if (count < kLanes) {
        for (int64_t i = 0; i < count; ++i) {
            const int32_t value = gate == nullptr || gate[i] > 0.0f ? magnitude(from[i]) : 0;
            single = value > single ? value : single;
        }
        return;
    }
    // The last vector overlaps the one before it.
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t at = least(i, count - kLanes);
        const Vector values = load(from + at);
        vectors = larger(vectors, magnitudes(gate == nullptr ? values : passed(values, load(gate + at))));
    }
}

// Updates it with cells of a row whose values came back through a pool.
CPM_INLINE void raise_unpooled(const Ranges& job, int64_t image, int64_t row, int64_t cell, int64_t cells,
                               Integers& vectors) {
    constexpr int most_side = (kMaxKernel + 1) / 2;
    alignas(64) float made[most_side * kBlock];
    for (int64_t channel = 0; channel < job.channels; channel += kBlock) {
        unpool_row(unpool_of(job, job.width, image, channel, job.channels), job.gate.side, row, cell, cell + cells, made,
                   kBlock);
        for (int64_t i = 0; i < cells * kBlock; i += kLanes) vectors = larger(vectors, magnitudes(load(made + i)));
    }
}

// Tasks: rows of blocks, of all images.
void find_ranges(const Ranges& job, int64_t begin, int64_t end) {
    const int64_t bands = (job.height + job.side - 1) / job.side, row_step = job.width * job.pitch;
    const auto* gate = job.gate.side != 0 ? nullptr : static_cast<const float*>(job.gate.at);
    for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / bands, first = task % bands * job.side;
        const int64_t last = least(first + job.side, job.height);
        int32_t largest = 0, smallest = kMagnitude;
        for (int64_t cell = 0; cell < job.width; cell += job.side) {
            const int64_t cells = least(job.side, job.width - cell);
            const int64_t runs = job.pitch == job.channels ? 1 : cells, run = cells / runs * job.channels;
            Integers vectors = {};
            int32_t block = 0;
            for (int64_t row = first; row < last; ++row) {
                if (job.gate.side != 0) {
                    raise_unpooled(job, image, row, cell, cells, vectors);
                    continue;
                }
                const int64_t start = (image * job.height + row) * row_step + cell * job.pitch;
                for (int64_t i = 0; i < runs; ++i) {
                    const int64_t at = start + i * job.pitch;
                    raise_largest(job.x + at, gate == nullptr ? nullptr : gate + at, run, vectors, block);
                }
            }
            for (int lane = 0; lane < kLanes; ++lane) block = vectors[lane] > block ? vectors[lane] : block;
            largest = block > largest ? block : largest;
            if (block > 0 && block < smallest) smallest = block;
        }
        job.largest[task] = largest;
        job.smallest[task] = smallest;
    }
}

}  // namespace
}  // namespace cpm::spectral

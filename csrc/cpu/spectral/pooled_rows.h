// The inverse x transforms where a maximum over windows follows. Bands of one chunk run in parallel, so each band transforms
// the rows that it shares with its neighbor itself.
#pragma once

#include "pool.h"
#include "rows.h"

namespace cpm::spectral {
namespace {

// Transforms rows `row` and `row + 1` of the strips, in all tiles, to pool.pair. Returns whether all were finite.
bool finish_pair(const WriteRows& job, const Pool& pool, const float* strip, int64_t row, Dft dft, const float* bias,
                 int64_t channels) {
    alignas(64) float z[kMaxTile * kComplex];
    const int64_t tile_step = job.strips.blocks * job.strips.rows * kComplex;
    const bool pair = row + 1 < job.strips.rows;
    bool finite = true;
    for (int64_t tile = 0; tile < job.strips.tiles; ++tile) {
        const float* row0 = strip + tile * tile_step + row * kComplex;
        const float* row1 = pair ? row0 + kComplex : row0;
        const float* next = tile + 1 < job.strips.tiles ? row0 + tile_step : strip + (row + 2) * kComplex;
        fetch<false>(next, job.tile / 2, job.strips.unit_step, 2 * kComplex);
        const int64_t start = tile * job.across.step, cells = least(job.across.step, job.across.cells - start);
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            combine_rows(row0 + lane, row1 + lane, job.strips.unit_step, job.tile, z + lane);
            dft(z + kBlock + lane, z + lane, kComplex, z + kBlock + lane, z + lane, kComplex);
        }
        for (int half = 0; half < 2; ++half) {
            finite &= finish_row(z + job.across.first * kComplex + half * kBlock, bias, job.relu, channels, cells, kBlock,
                                 pool.pair + (half * job.across.cells + start) * kBlock);
        }
    }
    return finite;
}

void write_pooled(const WriteRows& job, const Pool& pool, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile);
    const Strips& strips = job.strips;
    const int64_t width = job.across.cells, windows = job.height / 2, row_step = width / 2 * job.pitch;
    const int64_t last_row = strips.first_row + strips.rows;
    // The rows of windows that have a row in the strips.
    const int64_t first_window = most(0, (strips.first_row + pool.padding - pool.side + 2) / 2);
    const int64_t window_count = least(windows, (last_row - 1 + pool.padding) / 2 + 1) - first_window;
    for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task % strips.blocks, band = task / strips.blocks % pool.bands;
        const int64_t image = task / strips.blocks / pool.bands;
        const int64_t from = first_window + window_count * band / pool.bands;
        const int64_t to = first_window + window_count * (band + 1) / pool.bands;
        const int64_t first_channel = (job.first_block + block) * kBlock;
        const int64_t channels = least(kBlock, job.channels - first_channel);
        const float* bias = job.bias == nullptr ? nullptr : job.bias + first_channel;
        const float* strip = strips.data + (image * strips.tiles * strips.blocks + block) * strips.rows * kComplex;
        const int64_t place = image * windows * row_step + first_channel;
        float* out = job.out + place;
        unsigned char* places = pool.places == nullptr ? nullptr : pool.places + place;
        if (from == to) continue;
        const Windows own{pool, from, to, most(strips.first_row, 2 * from - pool.padding),
                          least(last_row, 2 * (to - 1) - pool.padding + pool.side), width};
        // Pairs are counted from the strips' first row in every band, so that bits do not depend on threads.
        for (int64_t row = own.rows_begin - (own.rows_begin - strips.first_row) % 2; row < own.rows_end; row += 2) {
            if (!finish_pair(job, pool, strip, row - strips.first_row, dft, bias, channels)) {
                __atomic_store_n(job.broken + image, 1, __ATOMIC_RELAXED);
            }
            pool_pair(own, pool.pair, row, channels, job.pitch, row_step, out, places);
        }
    }
}

}  // namespace
}  // namespace cpm::spectral

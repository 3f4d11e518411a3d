// The inverse x transforms where a maximum over windows follows: the finished rows stay in cache, and only maxima are
// written. Windows are two cells apart, so each belongs to one pair of rows and may reach into the next or the last:
//
//     pair j   row 2j    first of window j, last of window j - 1      (3 cells a side, none before the map)
//              row 2j+1  second of window j
//
// The first finished row of a window writes its maximum, every other row raises it, so a window whose rows lie in two
// chunks needs no memory besides the output. Bands of one chunk run in parallel, so each band transforms the rows that
// it shares with its neighbor itself.
#pragma once

#include "rows.h"

namespace cpm::spectral {
namespace {

// Writes the maxima of a row's windows to `out`, or the larger of them and the values there.
void pool_row(const float* row, int64_t width, const Pool& pool, bool first, int64_t channels, int64_t pitch,
              float* out) {
    for (int64_t i = 0; i < width / 2; ++i, out += pitch) {
        const int64_t start = 2 * i - pool.padding, end = least(start + pool.side, width);
        alignas(64) float staged[kBlock];
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            Vector most_of = load(row + most(start, 0) * kBlock + lane);
            for (int64_t cell = most(start, 0) + 1; cell < end; ++cell) {
                most_of = greater(most_of, load(row + cell * kBlock + lane));
            }
            if (channels == kBlock) {
                store(out + lane, first ? most_of : greater(load(out + lane), most_of));
            } else {
                store(staged + lane, most_of);
            }
        }
        for (int64_t lane = 0; channels < kBlock && lane < channels; ++lane) {
            const bool raised = first || staged[lane] > out[lane] || staged[lane] != staged[lane];
            if (raised) out[lane] = staged[lane];
        }
    }
}

// Rows of windows [from, to), of the map's rows [rows_begin, rows_end).
struct Windows {
    Pool pool;
    int64_t from, to, rows_begin, rows_end, width;
};

// Includes rows `row` and `row + 1` in the maxima of their windows.
void pool_pair(const Windows& windows, const float* pair, int64_t row, int64_t channels, int64_t pitch,
               int64_t row_step, float* out) {
    const Pool& pool = windows.pool;
    for (int64_t each = most(row, windows.rows_begin); each < least(row + 2, windows.rows_end); ++each) {
        for (int64_t i = most(windows.from, (each + pool.padding - pool.side + 2) / 2); i < windows.to; ++i) {
            const int64_t start = 2 * i - pool.padding;
            if (start > each) break;
            pool_row(pair + (each - row) * windows.width * kBlock, windows.width, pool, each == most(start, 0),
                     channels, pitch, out + i * row_step);
        }
    }
}

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
    const Dft dft = find_dft<false>(job.tile);
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
        float* out = job.out + image * windows * row_step + first_channel;
        if (from == to) continue;
        const Windows own{pool, from, to, most(strips.first_row, 2 * from - pool.padding),
                          least(last_row, 2 * (to - 1) - pool.padding + pool.side), width};
        // Pairs are counted from the strips' first row in every band, so that bits do not depend on threads.
        for (int64_t row = own.rows_begin - (own.rows_begin - strips.first_row) % 2; row < own.rows_end; row += 2) {
            if (!finish_pair(job, pool, strip, row - strips.first_row, dft, bias, channels)) {
                __atomic_store_n(job.broken + image, 1, __ATOMIC_RELAXED);
            }
            pool_pair(own, pool.pair, row, channels, job.pitch, row_step, out);
        }
    }
}

}  // namespace
}  // namespace cpm::spectral

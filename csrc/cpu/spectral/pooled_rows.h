// The inverse x transforms where a maximum over windows follows. Bands of one chunk run in parallel, so each band transforms
// the rows that it shares with its neighbor itself.
//
// Windows are two cells apart, so both rows of a pair lie in one window, and one of them may lie in the next or the last:
//
//     pair j   larger of both   window j
//              row 2j           last of window j - 1     (3 cells a side, none before the map)
//              row 2j + 1       first of window j + 1    (3 cells a side, one before the map)
//
// Maxima are taken of the transform's result, tile by tile. Bias and ReLU keep the order, so they follow, once a window.
// The task's own memory holds windows that wait for another pair; the output holds them if that pair belongs to the next
// chunk.
//
// Versions, ms of this step of 9x9 3->256 @368 with bfloat16, one image, on two Zen 5 cores: 1, rows are finished, and each
// raises the maxima in the output, 6.1; 2, as above, with a third of the accesses and a quarter of the sums of bias, 4.3
// (predicted: 3.4 and what the memory takes).
#pragma once

#include "pool.h"
#include "rows.h"

namespace cpm::spectral {
namespace {

// Transforms rows `row` and `row + 1` of the strips, in all tiles, to pool.pair, if places are wanted. Returns whether all
// were finite.
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

// A row of windows: 16 floats for each in a task's own memory, or some channels of the output.
struct MaximaRow {
    float* at;  // null: none
    int64_t step, channels;

    CPM_INLINE Vector get(int64_t window, int lane) const {
        const float* from = at + window * step + lane;
        if (channels == kBlock) return load(from);
        alignas(64) float staged[kLanes] = {};
        for (int i = 0; i < kLanes && lane + i < channels; ++i) staged[i] = from[i];
        return load(staged);
    }
    CPM_INLINE void put(int64_t window, int lane, Vector values) const {
        float* to = at + window * step + lane;
        if (channels == kBlock) return store(to, values);
        for (int i = 0; i < kLanes && lane + i < channels; ++i) to[i] = values[i];
    }
};

// Some rows' part of a row of windows: raises the maxima `from`, if there are any, to `to`; whole windows with bias and
// ReLU.
struct MaximaStep {
    MaximaRow from, to;
    bool whole;
};

// The inverse x transforms of a task's pairs of rows, and their windows.
template <int Side, int Padding>
struct PooledRows {
    // Cells of the tile before that a tile's first window needs.
    static constexpr int kCarried = Side == 2 ? 0 : 2 - Padding;

    const WriteRows& job;
    const float *strip, *bias;
    Dft dft;
    Integers largest = {};  // of magnitudes

    // One step is of the larger of both rows, the other of one row: the first without padding, the second with.
    void run(int64_t row, const MaximaStep* of_both, const MaximaStep* of_one) {
        alignas(64) float z[kMaxTile * kComplex], both[(kMaxTile + 3) * kBlock], one[(kMaxTile + 3) * kBlock];
        const int64_t tile_step = job.strips.blocks * job.strips.rows * kComplex;
        const float* row0 = strip + row * kComplex;
        const auto put_lowest = [&](int64_t cell) {
            for (int lane = 0; lane < kBlock; ++lane) both[cell * kBlock + lane] = one[cell * kBlock + lane] = kLowest;
        };
        put_lowest(0);
        for (int64_t tile = 0; tile < job.strips.tiles; ++tile, row0 += tile_step) {
            const bool last = tile + 1 == job.strips.tiles;
            fetch<false>(last ? strip + (row + 2) * kComplex : row0 + tile_step, job.tile / 2, job.strips.unit_step,
                         2 * kComplex);
            const int64_t start = tile * job.across.step, cells = least(job.across.step, job.across.cells - start);
            // The tile's windows begin at `window`; without padding, the last of a tile waits for the next tile.
            const int64_t window = (start - kCarried + Padding) / 2, begin = kCarried == 2 && tile == 0 ? 1 : 0;
            const int64_t end = cells / 2 + (kCarried == 2 && last ? 1 : 0);
            for (const MaximaStep* step : {of_both, of_one}) {
                if (step != nullptr && step->whole && !job.stream) {
                    fetch<true>(step->to.at + (window + begin) * step->to.step, end - begin, step->to.step, kBlock);
                }
            }
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                combine_rows(row0 + lane, row0 + kComplex + lane, job.strips.unit_step, job.tile, z + lane);
                dft(z + kBlock + lane, z + lane, kComplex, z + kBlock + lane, z + lane, kComplex);
                const float* from = z + job.across.first * kComplex + lane;
                for (int64_t i = 0; i < cells; ++i, from += kComplex) {
                    const Complex rows = load_complex(from);
                    largest = larger(largest, larger(magnitudes(rows.re), magnitudes(rows.im)));
                    store(both + (kCarried + i) * kBlock + lane, greater(rows.re, rows.im));
                    if (of_one) store(one + (kCarried + i) * kBlock + lane, Padding == 0 ? rows.re : rows.im);
                }
            }
            put_lowest(kCarried + cells);
            // The step that raises held maxima comes before the step that holds new ones.
            if (Padding == 0 && of_one) pool(one, *of_one, window, begin, end);
            if (of_both) pool(both, *of_both, window, begin, end);
            if (Padding == 1 && of_one) pool(one, *of_one, window, begin, end);
            for (int at = 0; at < kCarried * kBlock; at += kLanes) {
                store(both + at, load(both + cells * kBlock + at));
                if (of_one) store(one + at, load(one + cells * kBlock + at));
            }
        }
    }

    // The windows from `begin` to `end` after `window`, of cells from that window's first cell on.
    CPM_INLINE void pool(const float* cells, const MaximaStep& step, int64_t window, int64_t begin, int64_t end) {
        const float floor = job.relu ? 0.0f : kLowest;
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            const Vector offset = load(bias + lane);
            for (int64_t i = begin; i < end; ++i) {
                const float* at = cells + 2 * i * kBlock + lane;
                Vector most_of = greater(load(at), load(at + kBlock));
                if constexpr (Side == 3) most_of = greater(most_of, load(at + 2 * kBlock));
                if (step.from.at != nullptr) most_of = greater(step.from.get(window + i, lane), most_of);
                if (step.whole) {
                    most_of = most_of + offset;
                    largest = larger(largest, magnitudes(most_of));
                    most_of = at_least(most_of, floor);
                }
                if (step.whole && job.stream && step.to.channels == kBlock) {
                    stream(step.to.at + (window + i) * step.to.step + lane, most_of);
                } else {
                    step.to.put(window + i, lane, most_of);
                }
            }
        }
    }

    bool finite() const {
        int32_t most_of = 0;
        for (int lane = 0; lane < kLanes; ++lane) most_of = largest[lane] > most_of ? largest[lane] : most_of;
        return most_of < kInfinite;
    }
};

// Windows of rows [from, to) of an image's block of channels.
template <int Side, int Padding>
bool write_windows(const WriteRows& job, const Pool& pool, int64_t from, int64_t to, const float* strip,
                   const float* bias, int64_t channels, float* out) {
    const Strips& strips = job.strips;
    const int64_t row_step = job.across.cells / 2 * job.pitch;
    const int64_t first = most(strips.first_row, 2 * from - Padding) / 2;
    const int64_t last = least(strips.first_row + strips.rows, 2 * (to - 1) - Padding + Side + 1) / 2;
    const MaximaRow none{nullptr, 0, 0}, held{pool.pair, kBlock, kBlock};
    const auto row_of = [&](int64_t window) -> MaximaRow { return {out + window * row_step, job.pitch, channels}; };
    PooledRows<Side, Padding> rows{job, strip, bias, find_dft<>(job.tile)};
    for (int64_t pair = first; pair < last; ++pair) {
        const auto wanted = [&](int64_t window) { return window >= from && window < to; };
        // The memory of a row of windows between this pair and the one before it, or after it.
        const auto before = [&](int64_t window) { return pair > first ? held : row_of(window); };
        const auto after = [&](int64_t window) { return pair + 1 < last ? held : row_of(window); };
        const int64_t other = Padding == 0 ? pair - 1 : pair + 1;
        const bool alone = Side == 2 || (Padding == 0 ? 2 * pair + 2 >= job.height : pair == 0);
        const MaximaStep of_both = alone          ? MaximaStep{none, row_of(pair), true}
                                   : Padding == 0 ? MaximaStep{none, after(pair), false}
                                                  : MaximaStep{before(pair), row_of(pair), true};
        const MaximaStep of_one = Padding == 0 ? MaximaStep{before(other), row_of(other), true}
                                               : MaximaStep{none, after(other), false};
        rows.run(2 * pair - strips.first_row, wanted(pair) ? &of_both : nullptr,
                 Side == 3 && wanted(other) ? &of_one : nullptr);
    }
    return rows.finite();
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
        if (places == nullptr) {
            alignas(64) float offsets[kBlock] = {};
            if (bias != nullptr) memcpy(offsets, bias, channels * sizeof(float));
            const auto write = pool.side == 2      ? write_windows<2, 0>
                               : pool.padding == 0 ? write_windows<3, 0>
                                                   : write_windows<3, 1>;
            if (!write(job, pool, from, to, strip, offsets, channels, out)) {
                __atomic_store_n(job.broken + image, 1, __ATOMIC_RELAXED);
            }
            if (job.stream) end_stream();
            continue;
        }
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

// Maxima over windows of finished rows, while these stay in cache: only maxima are written. Windows are two cells apart, so
// each belongs to one pair of rows and may reach into the next or the last:
//
//     pair j   row 2j    first of window j, last of window j - 1      (3 cells a side, none before the map)
//              row 2j+1  second of window j
//
// The first finished row of a window writes its maximum, every other row raises it, so a window whose rows lie in two
// chunks needs no memory besides the output.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace cpm::spectral {
namespace {

// Writes the maxima of a row's windows to `out`, or the larger of them and the values there. With Places also where they
// are, in rows of at least 0: the row's first place in a window is `place`.
template <bool Places>
void pool_row(const float* row, int64_t width, const Pool& pool, bool first, int64_t channels, int64_t pitch,
              float* out, unsigned char* places, int place) {
    for (int64_t i = 0; i < width / 2; ++i, out += pitch, places += Places ? pitch : 0) {
        const int64_t start = 2 * i - pool.padding, begin = most(start, 0), end = least(start + pool.side, width);
        alignas(64) float staged[kBlock];
        unsigned char staged_places[kBlock];
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            Vector most_of = load(row + begin * kBlock + lane);
            Integers place_of = spread(place + static_cast<int>(begin - start));
            const auto raise = [&](int64_t cell) CPM_INLINE_LAMBDA {
                const Vector value = load(row + cell * kBlock + lane);
                if constexpr (Places) {
                    place_of = where_above(value, most_of, spread(place + static_cast<int>(cell - start)), place_of);
                }
                most_of = greater(most_of, value);
            };
            if (begin + 1 < end) raise(begin + 1);
            if (begin + 2 < end) raise(begin + 2);
            if (channels == kBlock) {
                if constexpr (Places) {
                    const Vector least_of = first ? Vector{} : load(out + lane);
                    const Integers before = first ? Integers{} : load_bytes(places + lane);
                    store_bytes(places + lane, where_above(most_of, least_of, place_of, before));
                }
                store(out + lane, first ? most_of : greater(load(out + lane), most_of));
            } else {
                store(staged + lane, most_of);
                if constexpr (Places) store_bytes(staged_places + lane, place_of);
            }
        }
        for (int64_t lane = 0; channels < kBlock && lane < channels; ++lane) {
            if constexpr (Places) {
                const bool above = staged[lane] > (first ? 0.0f : out[lane]);
                if (above || first) places[lane] = above ? staged_places[lane] : 0;
            }
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
               int64_t row_step, float* out, unsigned char* places = nullptr) {
    const Pool& pool = windows.pool;
    for (int64_t each = most(row, windows.rows_begin); each < least(row + 2, windows.rows_end); ++each) {
        for (int64_t i = most(windows.from, (each + pool.padding - pool.side + 2) / 2); i < windows.to; ++i) {
            const int64_t start = 2 * i - pool.padding;
            if (start > each) break;
            const auto run = places == nullptr ? pool_row<false> : pool_row<true>;
            run(pair + (each - row) * windows.width * kBlock, windows.width, pool, each == most(start, 0), channels,
                pitch, out + i * row_step, places == nullptr ? nullptr : places + i * row_step,
                1 + pool.side * static_cast<int>(each - start));
        }
    }
}

}  // namespace
}  // namespace cpm::spectral

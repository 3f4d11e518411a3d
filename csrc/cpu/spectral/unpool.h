// The gradient that comes back through a maximum pool: the value of a window belongs to the cell that held its maximum. The
// map is never written; those who read it make the cells that they need.
//
//     window i   cells 2i, 2i + 1, and of 3 a side 2i + 2, which window i + 1 has too   (none before the map)
#pragma once

#include "kernels.h"
#include "simd.h"

namespace cpm::spectral {
namespace {

// The windows' values and places of an image, from a block's first channel on: [h/2, w/2], a window every `pitch`.
struct Unpool {
    const float* values;
    const unsigned char* places;
    int64_t height, width, pitch;  // of windows
    int padding;
    int64_t channels;  // up to 16
};

// Returns the windows that a job reads, of an image's block of channels.
template <typename Job>
Unpool unpool_of(const Job& job, int64_t width, int64_t image, int64_t first, int64_t channels) {
    const int64_t at = image * (job.height / 2) * (width / 2) * job.pitch + first;
    return {job.x + at, static_cast<const unsigned char*>(job.gate.at) + at, job.height / 2, width / 2, job.pitch,
            job.gate.padding, least(kBlock, channels - first)};
}

// Adds a window's values, the first of which is at `at`, to the cells that it has in a row of the map; `place` is that of
// the first of these cells.
template <int Side, bool Full>
CPM_INLINE void add_window(const Unpool& job, int64_t at, int lane, int32_t place, Vector* sums) {
    const float* values = job.values + at + lane;
    const unsigned char* places = job.places + at + lane;
    alignas(64) float staged[kBlock];
    unsigned char staged_places[kBlock];
    if constexpr (!Full) {
        for (int i = 0; i < kLanes; ++i) {
            const bool taken = lane + i < job.channels;
            staged[i] = taken ? values[i] : 0.0f;
            staged_places[i] = taken ? places[i] : 0;
        }
        values = staged;
        places = staged_places;
    }
    const Vector value = load(values);
    const Integers found = load_bytes(places);
    for (int cell = 0; cell < Side; ++cell) sums[cell] = sums[cell] + where_place(found, place + cell, value);
}

// Writes cells [begin, end) of a row of the map, 16 channels each, from Rows rows of windows from `high` on.
template <int Side, int Rows, bool Full>
void unpool_cells(const Unpool& job, int64_t row, int64_t high, int64_t begin, int64_t end, float* to, int64_t step) {
    const int64_t first = most(0, (begin + job.padding - Side + 2) / 2), last = (end - 1 + job.padding) / 2;
    const int32_t place = 1 + static_cast<int32_t>(row - 2 * high + job.padding) * Side;
    const int64_t next = job.width * job.pitch;
    for (int lane = 0; lane < kBlock; lane += kLanes) {
        Vector shared = {};
        for (int64_t i = first; i <= last; ++i) {
            Vector sums[3] = {shared, Vector{}, Vector{}};
            if (i < job.width) {
                const int64_t at = high * next + i * job.pitch;
                add_window<Side, Full>(job, at, lane, place, sums);
                if constexpr (Rows == 2) add_window<Side, Full>(job, at + next, lane, place - 2 * Side, sums);
            }
            const int64_t cell = 2 * i - job.padding - begin;
            if (cell >= 0 && cell < end - begin) store(to + cell * step + lane, sums[0]);
            if (cell >= -1 && cell < end - begin - 1) store(to + (cell + 1) * step + lane, sums[1]);
            shared = sums[2];
        }
    }
}

// Writes cells [begin, end) of a row of the map, 16 channels each, 0 in those beyond the last; a cell every `step` floats.
template <int Side>
void unpool_row_as(const Unpool& job, int64_t row, int64_t begin, int64_t end, float* to, int64_t step) {
    const int64_t high = most(0, (row + job.padding - Side + 2) / 2), low = least(job.height - 1, (row + job.padding) / 2);
    if (job.channels < kBlock) {
        const auto run = high == low ? unpool_cells<Side, 1, false> : unpool_cells<Side, 2, false>;
        run(job, row, high, begin, end, to, step);
    } else {
        const auto run = high == low ? unpool_cells<Side, 1, true> : unpool_cells<Side, 2, true>;
        run(job, row, high, begin, end, to, step);
    }
}

void unpool_row(const Unpool& job, int side, int64_t row, int64_t begin, int64_t end, float* to, int64_t step) {
    if (side == 2) {
        unpool_row_as<2>(job, row, begin, end, to, step);
    } else {
        unpool_row_as<3>(job, row, begin, end, to, step);
    }
}

}  // namespace
}  // namespace cpm::spectral

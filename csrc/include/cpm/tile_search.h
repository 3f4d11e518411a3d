// The steps of one block of the CUDA kernel merge_peaks, for one part of one image. A step is a function of the thread;
// between two steps all threads wait for each other. A host can run the threads of a step one after the other, as the
// unit tests do, and runs the same algorithm.
//
//     magnitude of the cells, reduced -> slack
//     bound of every tile, kept, and the highest, reduced
//     the pixels of that tile, reduced -> the best so far
//     for every `threads` tiles: list those still open -> their pixels, reduced -> the best so far
#pragma once

#include <cstdint>

#include "cpm/merge_peaks.h"
#include "cpm/peak_math.h"
#include "cpm/resize_math.h"

namespace cpm {

constexpr int kSearchThreads = 256;

// The maps of one part in all scales.
struct PartStack {
    const float* maps;      // of the first scale, [h, w]
    int64_t scale_step;     // from one scale to the next
    const double* frames;   // [S, 4]
    int64_t scales, cell_height, cell_width, height, width;
};

// Memory that the threads share.
struct TileSearch {
    Candidate values[kSearchThreads];
    Candidate best;
    float slack, threshold;
    int open_count;
    int open[kSearchThreads];
};

// One value of resize_merge, for a part.
CPM_HOST_DEVICE inline float merged_value(const PartStack& stack, int64_t x, int64_t y) {
    float sum = 0.0f;
    for (int64_t s = 0; s < stack.scales; ++s) {
        const double* frame = stack.frames + 4 * s;
        const double column = cell_of(frame[0], frame[2], x), row = cell_of(frame[1], frame[3], y);
        if (!is_inside(column, stack.cell_width) || !is_inside(row, stack.cell_height)) continue;
        sum = rounded_sum(sum, resized_value(stack.maps + s * stack.scale_step, stack.cell_height, stack.cell_width,
                                             make_taps(column), make_taps(row)));
    }
    return rounded_quotient(sum, static_cast<float>(stack.scales));
}

// The intervals between cells that pixels begin to end - 1 see on one axis.
struct Intervals {
    int64_t begin, end;  // empty where all pixels lie outside
    bool whole;          // whether no pixel does
};

CPM_HOST_DEVICE inline Intervals intervals_of(double scale, double offset, int64_t begin, int64_t end, int64_t cells) {
    const double a = cell_of(scale, offset, begin), b = cell_of(scale, offset, end - 1);
    const double low = a < b ? a : b, high = a < b ? b : a, last = static_cast<double>(cells) - 0.5;
    // A NaN position fails, and then no pixel is inside.
    if (!(low <= last && high >= -0.5)) return {0, 0, false};
    const double from = low < -0.5 ? -0.5 : low, to = high > last ? last : high;
    return {static_cast<int64_t>(floor(from)), static_cast<int64_t>(floor(to)) + 1, low >= -0.5 && high <= last};
}

// The most the resized map can be between cells (j, i) and (j + 1, i + 1).
CPM_HOST_DEVICE inline float interval_bound(const float* map, int64_t height, int64_t width, int64_t i, int64_t j) {
    float most[4], least[4];
    int64_t column[4];
    for (int k = 0; k < 4; ++k) {
        const int64_t at = j - 1 + k;
        column[k] = at < 0 ? 0 : at < width ? at : width - 1;
    }
    for (int k = 0; k < 4; ++k) {
        const int64_t at = i - 1 + k;
        const float* row = map + (at < 0 ? 0 : at < height ? at : height - 1) * width;
        most[k] = most_between(row[column[0]], row[column[1]], row[column[2]], row[column[3]]);
        least[k] = least_between(row[column[0]], row[column[1]], row[column[2]], row[column[3]]);
    }
    return most_between(least[0], most[1], most[2], least[3]);
}

CPM_HOST_DEVICE inline float tile_bound(const PartStack& stack, int64_t tile) {
    const int64_t columns = (stack.width + kTileSide - 1) / kTileSide;
    const int64_t left = tile % columns * kTileSide, top = tile / columns * kTileSide;
    const int64_t right = left + kTileSide < stack.width ? left + kTileSide : stack.width;
    const int64_t bottom = top + kTileSide < stack.height ? top + kTileSide : stack.height;
    float total = 0.0f;
    for (int64_t s = 0; s < stack.scales; ++s) {
        const double* frame = stack.frames + 4 * s;
        const Intervals across = intervals_of(frame[0], frame[2], left, right, stack.cell_width);
        const Intervals down = intervals_of(frame[1], frame[3], top, bottom, stack.cell_height);
        if (across.begin == across.end || down.begin == down.end) continue;
        const float* map = stack.maps + s * stack.scale_step;
        float bound = interval_bound(map, stack.cell_height, stack.cell_width, down.begin, across.begin);
        for (int64_t i = down.begin; i < down.end; ++i) {
            for (int64_t j = across.begin; j < across.end; ++j) {
                const float here = interval_bound(map, stack.cell_height, stack.cell_width, i, j);
                bound = here > bound ? here : bound;
            }
        }
        // Pixels that lie outside are 0.
        total += bound < 0.0f && !(across.whole && down.whole) ? 0.0f : bound;
    }
    return total;
}

CPM_HOST_DEVICE inline int64_t tile_count(const PartStack& stack) {
    return merge_peaks_tiles(stack.height, stack.width);
}

CPM_HOST_DEVICE inline void scan_magnitude(const PartStack& stack, TileSearch& shared, int thread) {
    const int64_t cells = stack.cell_height * stack.cell_width;
    uint32_t most = 0;
    for (int64_t s = 0; s < stack.scales; ++s) {
        for (int64_t i = thread; i < cells; i += kSearchThreads) {
            const uint32_t bits = bits_of(stack.maps[s * stack.scale_step + i]) & 0x7fffffffu;
            most = bits > most ? bits : most;
        }
    }
    shared.values[thread] = most;
}

// One thread runs this after the reduction. An infinite slack leaves all tiles open.
CPM_HOST_DEVICE inline void set_slack(const PartStack& stack, TileSearch& shared) {
    const uint32_t bits = static_cast<uint32_t>(shared.values[0]);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    const float total = largest * static_cast<float>(stack.scales);
    const uint32_t infinite_bits = 0x7f800000u;
    memcpy(&shared.slack, &infinite_bits, sizeof shared.slack);
    if (total <= kLargestPruned) shared.slack = rounding_slack(total, stack.scales);
    shared.best = 0;
}

CPM_HOST_DEVICE inline void bound_tiles(const PartStack& stack, TileSearch& shared, float* bounds, int thread) {
    Candidate highest = 0;
    const bool prunes = shared.slack <= kLargestPruned;
    for (int64_t tile = thread; tile < tile_count(stack); tile += kSearchThreads) {
        bounds[tile] = prunes ? tile_bound(stack, tile) : 0.0f;
        const Candidate here = candidate(bounds[tile], tile);
        highest = here > highest ? here : highest;
    }
    shared.values[thread] = highest;
}

// One thread runs this after the reduction: the first tile to visit.
CPM_HOST_DEVICE inline void open_highest(TileSearch& shared) {
    shared.open_count = 1;
    shared.open[0] = static_cast<int>(index_of(shared.values[0]));
}

CPM_HOST_DEVICE inline bool is_open(const TileSearch& shared, const float* bounds, int64_t tile) {
    return !(bounds[tile] + shared.slack < shared.threshold);
}

CPM_HOST_DEVICE inline void visit_tiles(const PartStack& stack, TileSearch& shared, int thread) {
    const int64_t columns = (stack.width + kTileSide - 1) / kTileSide, area = kTileSide * kTileSide;
    Candidate best = 0;
    for (int64_t task = thread; task < shared.open_count * area; task += kSearchThreads) {
        const int64_t tile = shared.open[task / area], pixel = task % area;
        const int64_t x = tile % columns * kTileSide + pixel % kTileSide;
        const int64_t y = tile / columns * kTileSide + pixel / kTileSide;
        if (x >= stack.width || y >= stack.height) continue;
        const Candidate here = candidate(merged_value(stack, x, y), y * stack.width + x);
        best = here > best ? here : best;
    }
    shared.values[thread] = best;
}

// One thread runs this after the reduction. Without a candidate the threshold is NaN, and all tiles stay open.
CPM_HOST_DEVICE inline void keep_best(const PartStack& stack, TileSearch& shared) {
    if (shared.values[0] > shared.best) shared.best = shared.values[0];
    shared.threshold = rounded_product(value_of(shared.best), static_cast<float>(stack.scales));
    shared.open_count = 0;
}

// One thread runs this at the end: point [2], score [1].
CPM_HOST_DEVICE inline void write_peak(const PartStack& stack, const TileSearch& shared, bool refine, float* point,
                                       float* score) {
    const float value = value_of(shared.best);
    score[0] = value;
    if (shared.best == 0) {
        point[0] = point[1] = value;
        return;
    }
    const int64_t x = index_of(shared.best) % stack.width, y = index_of(shared.best) / stack.width;
    point[0] = static_cast<float>(x);
    point[1] = static_cast<float>(y);
    if (refine && x > 0 && x < stack.width - 1) {
        const float move = vertex(merged_value(stack, x - 1, y), value, merged_value(stack, x + 1, y));
        point[0] = rounded_sum(point[0], move);
    }
    if (refine && y > 0 && y < stack.height - 1) {
        const float move = vertex(merged_value(stack, x, y - 1), value, merged_value(stack, x, y + 1));
        point[1] = rounded_sum(point[1], move);
    }
}

}  // namespace cpm

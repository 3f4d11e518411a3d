// Rows first, columns second: the cells that a band of output rows sees are resized along x, then every output row is
// four of those rows, weighted. Both loops run over x with taps from tables, so the compiler makes vectors of them. A
// band stays in cache until all scales are in it, and is written once.
//
//     band: 64 rows x W pixels of one map      7 scales, 15 maps, 46 x 46 cells to 368 x 368: 0.9 MB read, 8.1 MB written
//
// FLOP: about 8 a pixel, map and scale down, and 7 (h / H + 4 / 64) across.
// Versions: 1, this one.

#include "cpm/resize_merge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "cpm/resize_math.h"
#include "cpm/sizes.h"
#include "cpm/threads.h"
#include "resize_rows.h"

namespace cpm {
namespace {

constexpr int64_t kBandRows = 64;

// Fills the tables of one axis; returns the pixels inside, which are contiguous since the position is monotone.
CPM_VECTORIZED Range fill_taps(double scale, double offset, int64_t pixels, int64_t cells, int32_t* __restrict__ first,
                               float* __restrict__ w0, float* __restrict__ w1, float* __restrict__ w2,
                               float* __restrict__ w3) {
    Range inside{0, pixels};
    while (!inside.empty() && !is_inside(cell_of(scale, offset, inside.begin), cells)) ++inside.begin;
    while (!inside.empty() && !is_inside(cell_of(scale, offset, inside.end - 1), cells)) --inside.end;
    for (int64_t pixel = inside.begin; pixel < inside.end; ++pixel) {
        const double cell = cell_of(scale, offset, pixel), below = std::floor(cell);
        first[pixel] = static_cast<int32_t>(below) + static_cast<int32_t>(kPad - 1);
        const Taps taps = make_taps(cell);
        w0[pixel] = taps.weight[0];
        w1[pixel] = taps.weight[1];
        w2[pixel] = taps.weight[2];
        w3[pixel] = taps.weight[3];
    }
    return inside;
}

CPM_VECTORIZED void divide(const float* __restrict__ sums, int64_t count, float divisor, float* __restrict__ means) {
    for (int64_t i = 0; i < count; ++i) means[i] = rounded_quotient(sums[i], divisor);
}

// Adds `value` to the pixels of a band [rows, W] that are not inside.
void add_outside(Range columns, Range rows, Range band, int64_t width, float value, float* sums) {
    for (int64_t y = band.begin; y < band.end; ++y) {
        float* row = sums + (y - band.begin) * width;
        const bool crossed = y >= rows.begin && y < rows.end && !columns.empty();
        const Range hole = crossed ? columns : Range{0, 0};
        for (int64_t x = 0; x < hole.begin; ++x) row[x] += value;
        for (int64_t x = hole.end; x < width; ++x) row[x] += value;
    }
}

struct Scratch {
    std::vector<float> padded, rows, sums;
};

// Writes rows `band` of map p of image n into merged [H, W].
void merge_band(const float* maps, float* merged, const ResizeMerge& params, const TapTables& tables, int64_t n,
                int64_t p, Range band, Scratch& scratch) {
    const int64_t cells = params.cell_height * params.cell_width, count = (band.end - band.begin) * params.width;
    std::fill_n(scratch.sums.data(), count, 0.0f);
    for (int64_t s = 0; s < params.scales; ++s) {
        const int64_t frame = (params.frame_sets == 1 ? 0 : n) * params.scales + s;
        const AxisTaps across = tables.across(frame), down = tables.down(frame);
        const Range rows = overlap(down.inside, band);
        if (!rows.empty() && !across.inside.empty()) {
            pad_map(maps + ((n * params.scales + s) * params.maps + p) * cells, params.cell_height, params.cell_width,
                    scratch.padded.data());
            add_resized(across, down, scratch.padded.data(), params.cell_width + 2 * kPad, across.inside, rows,
                        scratch.rows.data(),
                        scratch.sums.data() + (rows.begin - band.begin) * params.width + across.inside.begin,
                        params.width);
        }
        if (p == params.maps - 1) add_outside(across.inside, rows, band, params.width, 1.0f, scratch.sums.data());
    }
    divide(scratch.sums.data(), count, static_cast<float>(params.scales), merged + band.begin * params.width);
}

}  // namespace

Range overlap(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

Range AxisTaps::first_of(Range pixels) const {
    const auto ends = std::minmax(first[pixels.begin], first[pixels.end - 1]);
    return {ends.first, ends.second + 1};
}

TapTables::TapTables(const double* frames, const ResizeMerge& params, int team)
    : width_(params.width), height_(params.height) {
    const int64_t count = element_count({params.frame_sets, params.scales});
    if (!std::all_of(frames, frames + 4 * count, [](double number) { return std::isfinite(number); })) {
        throw std::invalid_argument("frames must be finite");
    }
    const int64_t pixels = width_ + height_;
    inside_.resize(static_cast<size_t>(element_count({count, 2})));
    first_.resize(static_cast<size_t>(element_count({count, pixels})));
    weights_.resize(static_cast<size_t>(element_count({count, pixels, 4})));
    threads::parallel(team, 2 * count, [&](int, int64_t task) {
        const int64_t frame = task / 2, which = task % 2;
        const double* numbers = frames + 4 * frame;
        int32_t* first = first_.data() + frame * pixels + which * width_;
        float* weight = weights_.data() + 4 * frame * pixels + which * width_;
        inside_[task] = fill_taps(numbers[which], numbers[2 + which], which ? height_ : width_,
                                  which ? params.cell_height : params.cell_width, first, weight, weight + pixels,
                                  weight + 2 * pixels, weight + 3 * pixels);
    });
}

AxisTaps TapTables::axis(int64_t frame, int which) const {
    const int64_t pixels = width_ + height_, start = which * width_;
    const float* weight = weights_.data() + 4 * frame * pixels + start;
    return {inside_[2 * frame + which],
            first_.data() + frame * pixels + start,
            {weight, weight + pixels, weight + 2 * pixels, weight + 3 * pixels}};
}

int64_t check_sizes(const ResizeMerge& params) {
    if (params.scales < 1 || params.cell_height < 1 || params.cell_width < 1) {
        throw std::invalid_argument("maps must have a scale and a cell");
    }
    if (params.frame_sets != 1 && params.frame_sets != params.images) {
        throw std::invalid_argument("frames must be one set, or one an image");
    }
    // Cells are counted in 32 bits along an axis.
    if (std::max(params.cell_height, params.cell_width) > (int64_t{1} << 30)) {
        throw std::invalid_argument("maps must have at most 2^30 cells a side");
    }
    element_count({params.images, params.scales, params.maps, params.cell_height + 4, params.cell_width + 4});
    return element_count({params.images, params.maps, params.height, params.width});
}

void pad_map(const float* map, int64_t height, int64_t width, float* padded) {
    const int64_t padded_width = width + 2 * kPad;
    for (int64_t i = 0; i < height + 2 * kPad; ++i) {
        const float* from = map + std::clamp<int64_t>(i - kPad, 0, height - 1) * width;
        float* to = padded + i * padded_width;
        to[0] = to[1] = from[0];
        std::memcpy(to + kPad, from, static_cast<size_t>(width) * sizeof(float));
        to[width + 2] = to[width + 3] = from[width - 1];
    }
}

CPM_VECTORIZED void add_resized(const AxisTaps& across, const AxisTaps& down, const float* padded, int64_t padded_width,
                                Range columns, Range rows, float* row_scratch, float* sums, int64_t pitch) {
    const Range cells = down.first_of(rows);
    const int64_t count = columns.end - columns.begin;
    const int32_t* __restrict__ first = across.first + columns.begin;
    const float* __restrict__ w0 = across.weight[0] + columns.begin;
    const float* __restrict__ w1 = across.weight[1] + columns.begin;
    const float* __restrict__ w2 = across.weight[2] + columns.begin;
    const float* __restrict__ w3 = across.weight[3] + columns.begin;
    for (int64_t i = cells.begin; i < cells.end + 3; ++i) {
        const float* __restrict__ from = padded + i * padded_width;
        float* __restrict__ resized = row_scratch + (i - cells.begin) * count;
        for (int64_t x = 0; x < count; ++x) {
            const int32_t tap = first[x];
            resized[x] =
                weighted_sum(w0[x], w1[x], w2[x], w3[x], from[tap], from[tap + 1], from[tap + 2], from[tap + 3]);
        }
    }
    for (int64_t y = rows.begin; y < rows.end; ++y) {
        const float* __restrict__ r0 = row_scratch + (down.first[y] - cells.begin) * count;
        const float* __restrict__ r1 = r0 + count;
        const float* __restrict__ r2 = r1 + count;
        const float* __restrict__ r3 = r2 + count;
        const float v0 = down.weight[0][y], v1 = down.weight[1][y], v2 = down.weight[2][y], v3 = down.weight[3][y];
        float* __restrict__ sum = sums + (y - rows.begin) * pitch;
        for (int64_t x = 0; x < count; ++x) {
            sum[x] = rounded_sum(sum[x], weighted_sum(v0, v1, v2, v3, r0[x], r1[x], r2[x], r3[x]));
        }
    }
}

void resize_merge_cpu(const float* maps, const double* frames, float* merged, const ResizeMerge& params, int threads) {
    if (check_sizes(params) == 0) return;
    const int64_t bands = (params.height + kBandRows - 1) / kBandRows;
    const int64_t tasks = element_count({params.images, params.maps, bands});
    const int team = static_cast<int>(std::clamp<int64_t>(threads, 1, tasks));
    const TapTables tables(frames, params, team);
    // The scratch is allocated here, since nothing may throw inside the parallel region.
    const size_t band_size = static_cast<size_t>(element_count({std::min(kBandRows, params.height), params.width}));
    const size_t rows_size = static_cast<size_t>(element_count({params.cell_height + 2 * kPad, params.width}));
    std::vector<Scratch> scratch(static_cast<size_t>(team));
    for (Scratch& own : scratch) {
        own.padded.resize(static_cast<size_t>(padded_cells(params)));
        own.rows.resize(rows_size);
        own.sums.resize(band_size);
    }

    threads::parallel_ranges(team, tasks, [&](int member, int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
            const int64_t map = task / bands, band = task % bands * kBandRows;
            merge_band(maps, merged + map * params.height * params.width, params, tables, map / params.maps,
                       map % params.maps, {band, std::min(band + kBandRows, params.height)}, scratch[member]);
        }
    });
}

}  // namespace cpm

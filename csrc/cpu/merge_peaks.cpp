// Branch and bound. Between two cells the cubic stays within bounds that follow from the four cells around (see
// resize_math.h), so every block of the output has an upper bound: over its intervals the largest, over the scales the
// sum. Blocks are visited from the highest bound down, by the loop that resize_merge runs over bands, until the next
// bound, with slack for rounding, is below the best sum found: what is left cannot even tie.
//
//     cells [h, w] -> bounds of intervals [h + 1, w + 1] -> of windows as large as a block -> of blocks
//
// FLOP: about 40 a cell, part and scale for the bounds, then usually below 1 % of the pixels.
// Versions: 1, resize_merge and peaks, which write and read the full-size maps; 2, this one.

#include "cpm/merge_peaks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "cpm/peak_math.h"
#include "cpm/resize_math.h"
#include "cpm/sizes.h"
#include "cpm/threads.h"
#include "resize_rows.h"

namespace cpm {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Pixels, a power of two of at most 32: a block is about a cell wide, so it sees few intervals.
int64_t block_side(const double* frames, int64_t count) {
    double scale = 0.0;
    for (int64_t f = 0; f < count; ++f) {
        scale = std::max({scale, std::abs(frames[4 * f]), std::abs(frames[4 * f + 1])});
    }
    int64_t side = 4;
    while (side < 32 && static_cast<double>(side) * scale < 0.75) side *= 2;
    return side;
}

// The blocks of one axis of one frame.
struct AxisBlocks {
    Range used;                   // blocks that have pixels inside
    int64_t window = 1;           // intervals that are enough for any block
    std::vector<int32_t> start;   // [blocks] the first interval of its window
    std::vector<float> at_least;  // [blocks] 0 where some pixels lie outside, whose value is 0; else -inf

    AxisBlocks(const AxisTaps& taps, int64_t pixels, int64_t side, int64_t cells) {
        const int64_t count = (pixels + side - 1) / side;
        start.resize(static_cast<size_t>(count));
        at_least.resize(static_cast<size_t>(count), -kInfinity);
        used = taps.inside.empty() ? Range{0, 0} : Range{taps.inside.begin / side, (taps.inside.end - 1) / side + 1};
        for (int64_t b = used.begin; b < used.end; ++b) {
            const Range all{b * side, std::min((b + 1) * side, pixels)}, in = overlap(all, taps.inside);
            const Range first = taps.first_of(in);
            start[b] = static_cast<int32_t>(first.begin);
            window = std::max(window, first.end - first.begin);
            if (in.begin != all.begin || in.end != all.end) at_least[b] = 0.0f;
        }
        for (int32_t& s : start) s = std::min(s, static_cast<int32_t>(cells + 1 - window));
    }
};

struct FrameBlocks {
    AxisTaps across, down;
    AxisBlocks columns, rows;
};

struct Search {
    const ResizeMerge& params;
    int64_t side, block_columns, block_rows;
    std::vector<FrameBlocks> frames;  // [frame_sets, S]
};

struct Scratch {
    std::vector<float> padded;       // [S, h + 4, w + 4]
    std::vector<float> most, least;  // [h + 4, w + 4]
    std::vector<float> intervals;    // [h + 1, w + 4]
    std::vector<float> bounds;       // [block_rows, block_columns]
    std::vector<float> rows, sums;   // [h + 4, side], [side, side]
    std::vector<int64_t> open;       // blocks that may hold the peak
};

struct Best {
    float sum = -kInfinity, mean = -kInfinity;
    int64_t index = std::numeric_limits<int64_t>::max();
};

// Returns the largest magnitude, or NaN if there is one.
CPM_VECTORIZED float magnitude(const float* cells, int64_t count) {
    uint32_t most = 0;
    for (int64_t i = 0; i < count; ++i) most = std::max(most, bits_of(cells[i]) & 0x7fffffffu);
    float value;
    std::memcpy(&value, &most, sizeof value);
    return value;
}

// padded [h + 4, w + 4] -> intervals [h + 1, w + 4], the most the resized map can be in each. One loop runs across the
// ends of all rows, since many short loops are slow; the last three of each row are unused.
CPM_VECTORIZED void bound_intervals(const float* padded, int64_t height, int64_t width, float* most_in_row,
                                    float* least_in_row, float* intervals) {
    const int64_t pitch = width + 2 * kPad, count = (height + 2 * kPad) * pitch - 3;
    const float* __restrict__ c = padded;
    float* __restrict__ most = most_in_row;
    float* __restrict__ least = least_in_row;
    float* __restrict__ bound = intervals;
    for (int64_t i = 0; i < count; ++i) {
        most[i] = most_between(c[i], c[i + 1], c[i + 2], c[i + 3]);
        least[i] = least_between(c[i], c[i + 1], c[i + 2], c[i + 3]);
    }
    for (int64_t i = 0; i < count - 3 * pitch; ++i) {
        bound[i] = most_between(least[i], most[i + pitch], most[i + 2 * pitch], least[i + 3 * pitch]);
    }
}

// values [total]: each becomes the largest of `window` values `stride` apart, of which it is the first; values whose
// window reaches beyond the end are invalid afterwards. copy is scratch of the same size.
CPM_VECTORIZED void spread(float* values, int64_t total, int64_t window, int64_t stride, float* copy) {
    for (int64_t reach = 1; reach < window;) {
        // Windows of `reach` are done; two of them, which overlap in the last round, make a larger one.
        const int64_t more = std::min(reach, window - reach), count = total - more * stride;
        std::memcpy(copy, values, static_cast<size_t>(total) * sizeof(float));
        const float* __restrict__ here = copy;
        const float* __restrict__ there = copy + more * stride;
        for (int64_t i = 0; i < count; ++i) values[i] = here[i] < there[i] ? there[i] : here[i];
        reach += more;
    }
}

// Adds one scale's windows to the bounds of the blocks.
CPM_VECTORIZED void add_bounds(const AxisBlocks& columns, const AxisBlocks& rows, const float* windows, int64_t pitch,
                               int64_t block_columns, float* bounds) {
    const int32_t* __restrict__ start = columns.start.data();
    const float* __restrict__ at_least = columns.at_least.data();
    for (int64_t by = rows.used.begin; by < rows.used.end; ++by) {
        const float* __restrict__ window = windows + rows.start[by] * pitch;
        float* __restrict__ bound = bounds + by * block_columns;
        const float row_least = rows.at_least[by];
        for (int64_t bx = columns.used.begin; bx < columns.used.end; ++bx) {
            const float value = window[start[bx]];
            const float floor = row_least < at_least[bx] ? at_least[bx] : row_least;
            bound[bx] += value < floor ? floor : value;
        }
    }
}

// Fills scratch.padded and scratch.bounds for one part; returns the slack.
float bound_blocks(const Search& search, const float* maps, int64_t scale_step, const FrameBlocks* frames,
                   Scratch& scratch) {
    const ResizeMerge& params = search.params;
    const int64_t height = params.cell_height, width = params.cell_width, size = padded_cells(params);
    const int64_t pitch = width + 2 * kPad;
    float total = 0.0f;
    std::fill(scratch.bounds.begin(), scratch.bounds.end(), 0.0f);
    for (int64_t s = 0; s < params.scales; ++s) {
        float* padded = scratch.padded.data() + s * size;
        pad_map(maps + s * scale_step, height, width, padded);
        total += magnitude(padded, size);
        const AxisBlocks &columns = frames[s].columns, &rows = frames[s].rows;
        if (!(total <= kLargestPruned) || columns.used.empty() || rows.used.empty()) continue;
        bound_intervals(padded, height, width, scratch.most.data(), scratch.least.data(), scratch.intervals.data());
        float* intervals = scratch.intervals.data();
        spread(intervals, (height + 1) * pitch, columns.window, 1, scratch.most.data());
        spread(intervals, (height + 1) * pitch, rows.window, pitch, scratch.most.data());
        add_bounds(columns, rows, intervals, pitch, search.block_columns, scratch.bounds.data());
    }
    if (!(total <= kLargestPruned)) {
        std::fill(scratch.bounds.begin(), scratch.bounds.end(), kInfinity);
        return 0.0f;
    }
    return rounding_slack(total, params.scales);
}

// sums [rows, columns], contiguous, of resize_merge before its division
void sum_scales(const Search& search, const FrameBlocks* frames, Range columns, Range rows, Scratch& scratch) {
    const ResizeMerge& params = search.params;
    const int64_t pitch = columns.end - columns.begin;
    std::fill_n(scratch.sums.data(), pitch * (rows.end - rows.begin), 0.0f);
    for (int64_t s = 0; s < params.scales; ++s) {
        const FrameBlocks& frame = frames[s];
        const Range in_columns = overlap(columns, frame.across.inside), in_rows = overlap(rows, frame.down.inside);
        if (in_columns.empty() || in_rows.empty()) continue;
        float* sums = scratch.sums.data() + (in_rows.begin - rows.begin) * pitch + in_columns.begin - columns.begin;
        add_resized(frame.across, frame.down, scratch.padded.data() + s * padded_cells(params),
                    params.cell_width + 2 * kPad, in_columns, in_rows, scratch.rows.data(), sums, pitch);
    }
}

void visit_block(const Search& search, const FrameBlocks* frames, int64_t block, Scratch& scratch, Best& best) {
    const ResizeMerge& params = search.params;
    const int64_t left = block % search.block_columns * search.side, top = block / search.block_columns * search.side;
    const Range columns{left, std::min(left + search.side, params.width)};
    const Range rows{top, std::min(top + search.side, params.height)};
    sum_scales(search, frames, columns, rows, scratch);
    const float* sum = scratch.sums.data();
    for (int64_t y = rows.begin; y < rows.end; ++y) {
        for (int64_t x = columns.begin; x < columns.end; ++x, ++sum) {
            const float mean = rounded_quotient(*sum, static_cast<float>(params.scales));
            const int64_t index = y * params.width + x;
            // NaN fails every comparison.
            if (mean > best.mean || (mean == best.mean && index < best.index)) best.mean = mean, best.index = index;
            if (*sum > best.sum) best.sum = *sum;
        }
    }
}

// The sub-pixel fit, on the values around the peak.
void refine_peak(const Search& search, const FrameBlocks* frames, Scratch& scratch, int64_t x, int64_t y,
                 float* point) {
    const int64_t width = search.params.width, height = search.params.height;
    const Range columns{std::max<int64_t>(x - 1, 0), std::min(x + 2, width)};
    const Range rows{std::max<int64_t>(y - 1, 0), std::min(y + 2, height)};
    sum_scales(search, frames, columns, rows, scratch);
    const int64_t pitch = columns.end - columns.begin;
    const auto mean = [&](int64_t at_x, int64_t at_y) {
        const float sum = scratch.sums[static_cast<size_t>((at_y - rows.begin) * pitch + at_x - columns.begin)];
        return rounded_quotient(sum, static_cast<float>(search.params.scales));
    };
    if (x > 0 && x < width - 1) point[0] += vertex(mean(x - 1, y), mean(x, y), mean(x + 1, y));
    if (y > 0 && y < height - 1) point[1] += vertex(mean(x, y - 1), mean(x, y), mean(x, y + 1));
}

// maps: the part's map of the first scale
void find_peak(const Search& search, const float* maps, int64_t scale_step, const FrameBlocks* frames, bool refine,
               Scratch& scratch, float* point, float* score) {
    const float slack = bound_blocks(search, maps, scale_step, frames, scratch);
    const std::vector<float>& bounds = scratch.bounds;
    Best best;
    const int64_t highest = std::max_element(bounds.begin(), bounds.end()) - bounds.begin();
    visit_block(search, frames, highest, scratch, best);
    scratch.open.clear();
    for (int64_t block = 0; block < static_cast<int64_t>(bounds.size()); ++block) {
        if (block != highest && !(bounds[block] + slack < best.sum)) scratch.open.push_back(block);
    }
    std::sort(scratch.open.begin(), scratch.open.end(), [&](int64_t a, int64_t b) { return bounds[a] > bounds[b]; });
    for (const int64_t block : scratch.open) {
        if (bounds[block] + slack < best.sum) break;
        visit_block(search, frames, block, scratch, best);
    }
    if (best.index == std::numeric_limits<int64_t>::max()) {
        point[0] = point[1] = score[0] = kNan;
        return;
    }
    const int64_t x = best.index % search.params.width, y = best.index / search.params.width;
    point[0] = static_cast<float>(x);
    point[1] = static_cast<float>(y);
    score[0] = best.mean;
    if (refine) refine_peak(search, frames, scratch, x, y, point);
}

Scratch make_scratch(const Search& search) {
    const ResizeMerge& params = search.params;
    const auto sized = [](std::initializer_list<int64_t> sizes) {
        return std::vector<float>(static_cast<size_t>(element_count(sizes)));
    };
    const int64_t height = params.cell_height, width = params.cell_width, side = std::max<int64_t>(search.side, 3);
    Scratch scratch{sized({params.scales, padded_cells(params)}),
                    sized({height + 4, width + 4}),
                    sized({height + 4, width + 4}),
                    sized({height + 1, width + 4}),
                    sized({search.block_rows, search.block_columns}),
                    sized({height + 4, side}),
                    sized({side, side}),
                    {}};
    scratch.open.reserve(scratch.bounds.size());
    return scratch;
}

}  // namespace

void merge_peaks_cpu(const float* maps, const double* frames, float* points, float* scores, const ResizeMerge& params,
                     bool refine, int threads) {
    check_sizes(params);
    const int64_t parts = params.maps - 1, tasks = params.images * std::max<int64_t>(parts, 0);
    if (tasks == 0) return;
    if (element_count({params.height, params.width}) == 0) throw std::invalid_argument("the output must have pixels");

    const int team = static_cast<int>(std::clamp<int64_t>(threads, 1, tasks));
    const TapTables tables(frames, params, team);
    const int64_t frame_count = params.frame_sets * params.scales, side = block_side(frames, frame_count);
    Search search{params, side, (params.width + side - 1) / side, (params.height + side - 1) / side, {}};
    for (int64_t f = 0; f < frame_count; ++f) {
        const AxisTaps across = tables.across(f), down = tables.down(f);
        search.frames.push_back({across, down, AxisBlocks(across, params.width, side, params.cell_width),
                                 AxisBlocks(down, params.height, side, params.cell_height)});
    }
    // The scratch is allocated here, since nothing may throw inside the parallel region.
    std::vector<Scratch> scratch;
    for (int member = 0; member < team; ++member) scratch.push_back(make_scratch(search));

    const int64_t cells = params.cell_height * params.cell_width;
    threads::parallel(team, tasks, [&](int member, int64_t task) {
        const int64_t n = task / parts, p = task % parts;
        find_peak(search, maps + (n * params.scales * params.maps + p) * cells, params.maps * cells,
                  search.frames.data() + (params.frame_sets == 1 ? 0 : n * params.scales), refine, scratch[member],
                  points + 2 * task, scores + task);
    });
}

}  // namespace cpm

// The code that resize_merge and merge_peaks share on the CPU: tables of taps, maps padded by their border, and the one loop that
// adds a resized scale to a rectangle of the output.
#pragma once

#include <cstdint>
#include <vector>

#include "cpm/resize_merge.h"

// Compiled for several instruction sets, chosen when the program starts. None fuses a product with a sum, so all
// give the same bits. (Sanitizers run before the choice can be made.)
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !defined(CPM_ONE_INSTRUCTION_SET)
#define CPM_VECTORIZED __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CPM_VECTORIZED
#endif

namespace cpm {

constexpr int64_t kPad = 2;

struct Range {
    int64_t begin, end;
    bool empty() const { return begin >= end; }
};

Range overlap(Range a, Range b);

// One axis of one frame.
struct AxisTaps {
    Range inside;            // pixels inside the map; the tables have no entries for others
    const int32_t* first;    // [pixels] the first of the four cells, counted in the padded map
    const float* weight[4];  // [pixels]

    // The least and the greatest first cell of the pixels; first cells are a monotone function of the pixel.
    Range first_of(Range pixels) const;
};

// Taps of both axes for every frame, computed in parallel.
class TapTables {
public:
    // Throws std::invalid_argument for a frame that is not finite.
    TapTables(const double* frames, const ResizeMerge& params, int team);

    AxisTaps across(int64_t frame) const { return axis(frame, 0); }
    AxisTaps down(int64_t frame) const { return axis(frame, 1); }

private:
    AxisTaps axis(int64_t frame, int which) const;

    int64_t width_, height_;
    std::vector<Range> inside_;   // [frames, 2]
    std::vector<int32_t> first_;  // [frames, W + H]
    std::vector<float> weights_;  // [frames, 4, W + H]
};

inline int64_t padded_cells(const ResizeMerge& params) {
    return (params.cell_height + 2 * kPad) * (params.cell_width + 2 * kPad);
}

// map [h, w] -> padded [h + 4, w + 4], the border repeated
void pad_map(const float* map, int64_t height, int64_t width, float* padded);

// Adds the values of one scale to sums [rows, pitch], whose first element is pixel (columns.begin, rows.begin); both
// ranges lie inside. row_scratch holds (h + 4) times the columns.
void add_resized(const AxisTaps& across, const AxisTaps& down, const float* padded, int64_t padded_width, Range columns,
                 Range rows, float* row_scratch, float* sums, int64_t pitch);

}  // namespace cpm

// The rule for a peak among many, and for the vertex of its parabolas: the same on CPU and GPU.
#pragma once

#include "cpm/many_peaks.h"
#include "cpm/peak_math.h"

namespace cpm {

// Whether the cell (x, y) of a map [H, W] is above the threshold and the first of the highest in its window, which ends
// at the border. A NaN fails every comparison: it is no peak and hides none.
CPM_HOST_DEVICE inline bool is_peak(const float* map, const ManyPeaks& params, int64_t x, int64_t y) {
    const float value = map[y * params.width + x];
    if (!(value > params.threshold)) return false;
    // A radius beyond the map's own sides reaches no more cells.
    const int64_t up = params.radius < y ? params.radius : y, left = params.radius < x ? params.radius : x;
    const int64_t down = params.radius < params.height - 1 - y ? params.radius : params.height - 1 - y;
    const int64_t right = params.radius < params.width - 1 - x ? params.radius : params.width - 1 - x;
    for (int64_t i = y - up; i <= y + down; ++i) {
        for (int64_t j = x - left; j <= x + right; ++j) {
            const float near = map[i * params.width + j];
            const bool earlier = i < y || (i == y && j < x);
            if (near > value || (earlier && near == value)) return false;
        }
    }
    return true;
}

// The point [2] and the score [1] of a peak at `index` of a map [H, W].
CPM_HOST_DEVICE inline void write_found(const float* map, const ManyPeaks& params, int64_t index, float* point,
                                        float* score) {
    const int64_t width = params.width, y = index / width, x = index - y * width;
    const float* at = map + index;
    score[0] = *at;
    point[0] = static_cast<float>(x);
    point[1] = static_cast<float>(y);
    if (x > 0 && x < width - 1) point[0] = rounded_sum(point[0], vertex(at[-1], *at, at[1]));
    if (y > 0 && y < params.height - 1) point[1] = rounded_sum(point[1], vertex(at[-width], *at, at[width]));
}

}  // namespace cpm

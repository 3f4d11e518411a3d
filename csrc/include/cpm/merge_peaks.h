// merge_peaks: peaks of the parts of resize_merge, index for index, without the full-size maps.
#pragma once

#include <cstdint>

#include "cpm/resize_merge.h"
#include "cpm/rounded.h"

namespace cpm {

// maps    [N, S, P+1, h, w]; the last, the background, is not looked at
// frames  [frame_sets, S, 4] (sx, sy, ox, oy), cell = s * pixel + o
// points  [N, P, 2] (x, y) pixels of the H x W output; NaN where a part's output would be nothing but NaN
// scores  [N, P]
//
// All contiguous; errors as of resize_merge, and of outputs of no or 2^32 pixels; does nothing without parts.

// Parallel over parts, on at most `threads` threads.
void merge_peaks_cpu(const float* maps, const double* frames, float* points, float* scores, const ResizeMerge& params,
                     bool refine, int threads);

// bounds  [N P, merge_peaks_tiles(params)], scratch on the device, of any content
//
// On `stream` (a cudaStream_t) of `device`, without waiting. Throws std::runtime_error when CUDA refuses the launch.
void merge_peaks_cuda(const float* maps, const double* frames, float* points, float* scores, float* bounds,
                      const ResizeMerge& params, bool refine, int device, void* stream);

// Tiles of the output that CUDA bounds one by one, 8 pixels a side.
constexpr int64_t kTileSide = 8;
CPM_HOST_DEVICE inline int64_t merge_peaks_tiles(int64_t height, int64_t width) {
    return ((height + kTileSide - 1) / kTileSide) * ((width + kTileSide - 1) / kTileSide);
}

}  // namespace cpm

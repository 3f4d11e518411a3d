// resize_merge: belief maps of several scales, brought to one frame by cubic resize (Keys, a = -0.5) and averaged.
#pragma once

#include <cstdint>

namespace cpm {

struct ResizeMerge {
    int64_t images;       // N
    int64_t scales;       // S, at least 1
    int64_t maps;         // P+1, background last
    int64_t cell_height;  // h
    int64_t cell_width;   // w
    int64_t height;       // H, pixels
    int64_t width;        // W
    int64_t frame_sets;   // 1: one set of S frames for all images; N: one each
};

// Most scales a CUDA kernel has room for.
constexpr int64_t kMaxScales = 32;

// maps    [N, S, P+1, h, w]
// frames  [frame_sets, S, 4] (sx, sy, ox, oy), cell = s * pixel + o
// merged  [N, P+1, H, W], written in full
//
// All contiguous. Throws std::invalid_argument for sizes that are negative or overflow, no scale or cell at all, or
// frames that are not finite (on CUDA, where those are not looked at, their pixels lie outside); does nothing when
// merged is empty.

// The elements of merged, after the checks of sizes.
int64_t check_sizes(const ResizeMerge& params);

// Parallel over maps and bands of rows, on at most `threads` threads.
void resize_merge_cpu(const float* maps, const double* frames, float* merged, const ResizeMerge& params, int threads);

// On `stream` (a cudaStream_t) of `device`, without waiting. Throws std::runtime_error when CUDA refuses the launch.
void resize_merge_cuda(const float* maps, const double* frames, float* merged, const ResizeMerge& params, int device,
                       void* stream);

}  // namespace cpm

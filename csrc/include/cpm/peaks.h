// peaks: the maximum of every map, where it stands, and the sub-pixel fit.
#pragma once

#include <cstdint>

namespace cpm {

struct Peaks {
    int64_t maps;    // N M
    int64_t height;  // H, at least 1; H W below 2^32
    int64_t width;   // W, at least 1
    bool refine;
};

// maps    [N M, H, W]
// points  [N M, 2] (x, y) pixels; NaN where a map holds nothing but NaN
// scores  [N M]
//
// All contiguous. Throws std::invalid_argument for sizes that are negative or overflow, or maps without pixels; does
// nothing without maps.

// Parallel over maps, on at most `threads` threads.
void peaks_cpu(const float* maps, float* points, float* scores, const Peaks& params, int threads);

// On `stream` (a cudaStream_t) of `device`, without waiting. Throws std::runtime_error when CUDA refuses the launch.
void peaks_cuda(const float* maps, float* points, float* scores, const Peaks& params, int device, void* stream);

}  // namespace cpm

// many_peaks: every cell of a map that is above a threshold and the highest within a radius, the highest first.
#pragma once

#include <cstdint>

namespace cpm {

struct ManyPeaks {
    int64_t maps;    // N
    int64_t height;  // H, at least 1; H W below 2^32
    int64_t width;   // W, at least 1
    float threshold;
    int64_t radius;  // at least 1
};

// K, the most peaks that a map may have: one in each square of radius + 1 cells. Throws std::invalid_argument for sizes
// that are negative or overflow, and a radius below 1.
int64_t most_peaks(const ManyPeaks& params);

// maps    [N, H, W]
// points  [N, K, 2] (x, y) cells, the highest peak first, ties in row-major order; (0, 0) behind the last
// scores  [N, K]; -inf behind the last peak
//
// All contiguous. Throws std::invalid_argument as most_peaks does, and for maps without cells; does nothing without
// maps.

// Parallel over maps, on at most `threads` threads.
void many_peaks_cpu(const float* maps, float* points, float* scores, const ManyPeaks& params, int threads);

// On `stream` (a cudaStream_t) of `device`, without waiting. Throws std::runtime_error when CUDA refuses the launch.
//
// found   [N, K] scratch
void many_peaks_cuda(const float* maps, float* points, float* scores, uint64_t* found, const ManyPeaks& params,
                     int device, void* stream);

}  // namespace cpm

// gaussian_targets: belief maps with a peak at every labeled part (Wei et al. 2016, section 3.2.1).
#pragma once

#include <cstdint>

namespace cpm {

struct GaussianTargets {
    int64_t images;  // N
    int64_t people;  // K, of each image
    int64_t parts;   // P
    int64_t height;  // h, cells
    int64_t width;   // w, cells
    double sigma;    // box pixels
    double stride;   // box pixels per cell
};

// parts     [N, K, P, 2] (x, y) box pixels; what is unlabeled or not finite is not read as a position
// labeled  [N, K, P]
// maps      [N, P+1, h, w], written in full, background last
//
// All contiguous. Throws std::invalid_argument for sizes that are negative or overflow; does nothing when maps is empty.

// Parallel over images, on at most `threads` threads.
void gaussian_targets_cpu(const float* parts, const bool* labeled, float* maps, const GaussianTargets& params,
                          int threads);

// On `stream` (a cudaStream_t) of `device`, without waiting. Throws std::runtime_error when CUDA refuses the launch.
void gaussian_targets_cuda(const float* parts, const bool* labeled, float* maps, const GaussianTargets& params,
                           int device, void* stream);

}  // namespace cpm

// One thread computes one cell of one image over its parts and people, so that every map is written once, in full
// lines, and a running maximum gives the background. Positions are the same for a whole block and come from L1.
//
//     block: 256 cells of the flat [N, h, w];  thread: P+1 values, h * w apart
//
// Bytes: 4 N (P+1) h w written, 9 N K P read. FLOP: 8 a cell, part and person, plus two exponentials where lit.
// 14 parts, 46 x 46 cells, 32 images: 4.1 MB, so about 1 us of memory time on an H200; a launch costs more.
// Versions: 1, this one, not measured yet.

#include <cuda_runtime.h>

#include "cpm/gaussian_math.h"
#include "cpm/gaussian_targets.h"
#include "cpm/sizes.h"
#include "launch.h"

namespace cpm {
namespace {

constexpr int kThreads = 256;

// parts [N, K, P, 2], labeled [N, K, P], maps [N, P+1, h, w]
__global__ void gaussian_targets_forward_kernel(const float* __restrict__ parts, const bool* __restrict__ labeled,
                                                float* __restrict__ maps, GaussianTargets params, Gaussian gaussian) {
    const int64_t cells = params.height * params.width;
    const int64_t total = params.images * cells;
    const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; index < total; index += step) {
        const int64_t n = index / cells, cell = index - n * cells;
        const int64_t i = cell / params.width, j = cell - i * params.width;
        const int64_t first_point = n * params.people * params.parts;
        float* map = maps + n * (params.parts + 1) * cells + cell;
        float highest = 0.0f;
        for (int64_t p = 0; p < params.parts; ++p) {
            float sum = 0.0f;
            for (int64_t k = 0; k < params.people; ++k) {
                const int64_t point = first_point + k * params.parts + p;
                if (!labeled[point]) continue;
                const float squared_x = squared_offset(gaussian, j, parts[2 * point]);
                const float squared_y = squared_offset(gaussian, i, parts[2 * point + 1]);
                if (is_lit(gaussian, squared_x, squared_y)) {
                    sum += falloff(gaussian, squared_x) * falloff(gaussian, squared_y);
                }
            }
            sum = fminf(sum, 1.0f);
            highest = fmaxf(highest, sum);
            map[p * cells] = sum;
        }
        map[params.parts * cells] = 1.0f - highest;
    }
}

}  // namespace

void gaussian_targets_cuda(const float* parts, const bool* labeled, float* maps, const GaussianTargets& params,
                           int device, void* stream) {
    element_count({params.images, params.people, params.parts, 2});
    const int64_t map_cells = element_count({params.parts + 1, params.height, params.width});
    if (element_count({params.images, map_cells}) == 0) return;

    const int64_t total = params.images * params.height * params.width;
    launch("gaussian_targets", gaussian_targets_forward_kernel, (total + kThreads - 1) / kThreads, kThreads, device, stream,
           parts, labeled, maps, params, make_gaussian(params.sigma, params.stride));
}

}  // namespace cpm

// One block reads one map, each thread its stride of pixels, and a tree in shared memory finds the best candidate:
// value and index are one integer (cpm/peak_math.h), so a maximum in any order keeps the first of the highest.
//
//     block: 256 threads, one map [H, W];  grid: N M
//
// Bytes: 4 N M H W read, 12 N M written. 15 maps of 368 x 368, 32 images: 260 MB, so about 60 us on an H200.
// Versions: 1, this one, not measured yet. A single image fills 15 of 132 processors only.

#include <cuda_runtime.h>

#include <stdexcept>

#include "cpm/peak_math.h"
#include "cpm/peaks.h"
#include "cpm/sizes.h"
#include "launch.h"

namespace cpm {
namespace {

constexpr int kThreads = 256;

// maps [N M, H, W], points [N M, 2], scores [N M]
__global__ void __launch_bounds__(kThreads)
    peaks_forward_kernel(const float* __restrict__ maps, float* __restrict__ points, float* __restrict__ scores,
                         Peaks params) {
    __shared__ Candidate values[kThreads];
    const int thread = threadIdx.x;
    const int64_t pixels = params.height * params.width;
    for (int64_t m = blockIdx.x; m < params.maps; m += gridDim.x) {
        const float* map = maps + m * pixels;
        Candidate best = 0;
        for (int64_t index = thread; index < pixels; index += kThreads) {
            const Candidate here = candidate(map[index], index);
            best = here > best ? here : best;
        }
        values[thread] = best;
        __syncthreads();
        for (int half = kThreads / 2; half > 0; half /= 2) {
            reduce_step(values, thread, half);
            __syncthreads();
        }
        if (thread == 0) {
            best = values[0];
            float x = value_of(0), y = x, score = x;
            if (best != 0) {
                const int64_t index = index_of(best), i = index / params.width, j = index - i * params.width;
                const float* at = map + index;
                score = *at;
                x = static_cast<float>(j);
                y = static_cast<float>(i);
                if (params.refine && j > 0 && j < params.width - 1) x = rounded_sum(x, vertex(at[-1], score, at[1]));
                if (params.refine && i > 0 && i < params.height - 1) {
                    y = rounded_sum(y, vertex(at[-params.width], score, at[params.width]));
                }
            }
            points[2 * m] = x;
            points[2 * m + 1] = y;
            scores[m] = score;
        }
        // The next map's candidates overwrite the values read here.
        __syncthreads();
    }
}

}  // namespace

void peaks_cuda(const float* maps, float* points, float* scores, const Peaks& params, int device, void* stream) {
    const int64_t pixels = element_count({params.height, params.width});
    element_count({params.maps, pixels});
    if (params.maps == 0) return;
    if (pixels == 0 || pixels >> 32 != 0) throw std::invalid_argument("maps must have 1 to 2^32 - 1 pixels");

    launch("peaks", peaks_forward_kernel, params.maps, kThreads, device, stream, maps, points, scores, params);
}

}  // namespace cpm

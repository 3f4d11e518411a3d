// One block reads one map twice: each thread counts the peaks among its stride of cells, a sum over the threads says
// where each writes its own, and the second reading writes them to scratch memory. Then every peak counts the higher
// ones, which is its place.
//
//     block: 256 threads, one map [H, W];  grid: N
//
// Bytes: 8 N H W read, 20 N K written; the maps of a finder fit the first-level cache.
// Versions: 1, this one, not measured yet. Placing P peaks takes P^2 comparisons of a block: fine for hundreds.

#include <cuda_runtime.h>

#include <limits>
#include <stdexcept>

#include "cpm/many_peaks.h"
#include "cpm/many_peaks_math.h"
#include "cpm/sizes.h"
#include "launch.h"

namespace cpm {
namespace {

constexpr int kThreads = 256;
constexpr float kNowhere = -std::numeric_limits<float>::infinity();

// maps [N, H, W], points [N, K, 2], scores [N, K], found [N, K]
__global__ void __launch_bounds__(kThreads)
    many_peaks_forward_kernel(const float* __restrict__ maps, float* __restrict__ points, float* __restrict__ scores,
                              uint64_t* found, ManyPeaks params, int64_t most) {
    __shared__ int64_t first[kThreads + 1];
    const int thread = threadIdx.x;
    const int64_t cells = params.height * params.width;
    for (int64_t m = blockIdx.x; m < params.maps; m += gridDim.x) {
        const float* map = maps + m * cells;
        uint64_t* list = found + m * most;
        int64_t own = 0;
        for (int64_t index = thread; index < cells; index += kThreads) {
            own += is_peak(map, params, index % params.width, index / params.width);
        }
        first[thread + 1] = own;
        __syncthreads();
        if (thread == 0) {
            first[0] = 0;
            for (int t = 1; t <= kThreads; ++t) first[t] += first[t - 1];
        }
        __syncthreads();
        const int64_t count = first[kThreads];
        int64_t place = first[thread];
        for (int64_t index = thread; index < cells && place < first[thread + 1]; index += kThreads) {
            if (!is_peak(map, params, index % params.width, index / params.width)) continue;
            list[place++] = candidate(map[index], index);
        }
        __syncthreads();
        for (int64_t i = thread; i < most; i += kThreads) {
            if (i >= count) {
                float* point = points + 2 * (m * most + i);
                point[0] = point[1] = 0.0f;
                scores[m * most + i] = kNowhere;
                continue;
            }
            int64_t higher = 0;
            for (int64_t k = 0; k < count; ++k) higher += list[k] > list[i];
            const int64_t at = m * most + higher;
            write_found(map, params, index_of(list[i]), points + 2 * at, scores + at);
        }
        // The next map's counts overwrite the values read here.
        __syncthreads();
    }
}

}  // namespace

void many_peaks_cuda(const float* maps, float* points, float* scores, uint64_t* found, const ManyPeaks& params,
                     int device, void* stream) {
    const int64_t most = most_peaks(params);
    if (params.maps == 0) return;
    if (params.height * params.width == 0) throw std::invalid_argument("maps must have cells");

    launch("many_peaks", many_peaks_forward_kernel, params.maps, kThreads, device, stream, maps, points, scores, found,
           params, most);
}

}  // namespace cpm

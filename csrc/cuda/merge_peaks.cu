// One block finds the peak of one part of one image: it bounds every tile of the output from the cells that the tile
// sees, evaluates the tile with the highest bound, then those that could still hold a higher value or tie with it. The
// steps are in cpm/tile_search.h; this file only calls them in order. Blocks are independent, so one launch does a
// batch; candidates are ordered, so the order of visits does not matter.
//
//     tile: 8 x 8 pixels of the output;  block: 256 threads, 4 tiles at a time;  grid: N P
//
// Bytes: 4 N S P h w read, mostly from cache, 12 N P written. FLOP: about 500 a tile and scale for the bounds.
// Versions: 1, resize_merge and peaks; 2, this one; neither measured yet.

#include <cuda_runtime.h>

#include <algorithm>
#include <stdexcept>

#include "cpm/merge_peaks.h"
#include "cpm/sizes.h"
#include "cpm/tile_search.h"
#include "launch.h"

namespace cpm {
namespace {

// Puts the best value into values[0].
__device__ void reduce_block(TileSearch& shared) {
    __syncthreads();
    for (int half = kSearchThreads / 2; half > 0; half /= 2) {
        reduce_step(shared.values, threadIdx.x, half);
        __syncthreads();
    }
}

// maps [N, S, P+1, h, w], frames [frame_sets, S, 4], points [N, P, 2], scores [N, P], bounds [N P, tiles]
__global__ void __launch_bounds__(kSearchThreads, 2)
    merge_peaks_forward_kernel(const float* __restrict__ maps, const double* __restrict__ frames,
                               float* __restrict__ points, float* __restrict__ scores, float* __restrict__ bounds,
                               ResizeMerge params, bool refine) {
    __shared__ TileSearch shared;
    const int thread = threadIdx.x;
    const int64_t parts = params.maps - 1, cells = params.cell_height * params.cell_width;
    const int64_t tiles = merge_peaks_tiles(params.height, params.width);
    for (int64_t task = blockIdx.x; task < params.images * parts; task += gridDim.x) {
        const int64_t n = task / parts, p = task % parts;
        const PartStack stack{maps + (n * params.scales * params.maps + p) * cells,
                              params.maps * cells,
                              frames + (params.frame_sets == 1 ? 0 : n) * params.scales * 4,
                              params.scales,
                              params.cell_height,
                              params.cell_width,
                              params.height,
                              params.width};
        float* own_bounds = bounds + task * tiles;

        scan_magnitude(stack, shared, thread);
        reduce_block(shared);
        if (thread == 0) set_slack(stack, shared);
        __syncthreads();
        bound_tiles(stack, shared, own_bounds, thread);
        reduce_block(shared);
        if (thread == 0) open_highest(shared);
        __syncthreads();
        visit_tiles(stack, shared, thread);
        reduce_block(shared);
        if (thread == 0) keep_best(stack, shared);
        __syncthreads();
        for (int64_t first = 0; first < tiles; first += kSearchThreads) {
            const int64_t tile = first + thread;
            const bool open = tile < tiles && is_open(shared, own_bounds, tile);
            if (open) shared.open[atomicAdd(&shared.open_count, 1)] = static_cast<int>(tile);
            // A copy, not the shared count: a fast thread may already add to that for the next tiles.
            if (!__syncthreads_or(open)) continue;
            visit_tiles(stack, shared, thread);
            reduce_block(shared);
            if (thread == 0) keep_best(stack, shared);
            __syncthreads();
        }
        if (thread == 0) write_peak(stack, shared, refine, points + 2 * task, scores + task);
        // The next part's first reduction overwrites the values read here.
        __syncthreads();
    }
}

}  // namespace

void merge_peaks_cuda(const float* maps, const double* frames, float* points, float* scores, float* bounds,
                      const ResizeMerge& params, bool refine, int device, void* stream) {
    check_sizes(params);
    const int64_t tasks = params.images * std::max<int64_t>(params.maps - 1, 0);
    if (tasks == 0) return;
    const int64_t pixels = element_count({params.height, params.width});
    if (pixels == 0 || pixels >> 32 != 0) throw std::invalid_argument("the output must have 1 to 2^32 - 1 pixels");
    element_count({tasks, merge_peaks_tiles(params.height, params.width)});

    launch("merge_peaks", merge_peaks_forward_kernel, tasks, kSearchThreads, device, stream, maps, frames, points, scores,
           bounds, params, refine);
}

}  // namespace cpm

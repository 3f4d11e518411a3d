// A block owns 32 x 8 pixels of one image. Its taps, of all scales and both axes, are computed once into shared memory;
// then each thread makes its pixel of every map, scale by scale, and writes every map once, in full lines.
//
//     block: 32 x 8 pixels, all P+1 maps;  shared: taps of 40 rows and columns in S scales, 31 kB for the most there are
//
// Bytes: 4 N (P+1) H W written; the cells, 4 N S (P+1) h w, come from cache. FLOP: 36 a pixel, map and scale.
// Versions: 1, this one, not measured yet.

#include <cuda_runtime.h>

#include <limits>
#include <stdexcept>

#include "cpm/resize_math.h"
#include "cpm/resize_merge.h"
#include "cpm/sizes.h"
#include "launch.h"

namespace cpm {
namespace {

constexpr int kTileWidth = 32, kTileHeight = 8, kThreads = kTileWidth * kTileHeight;
constexpr int kTileTaps = kTileWidth + kTileHeight;
constexpr int64_t kOutside = std::numeric_limits<int64_t>::min();

__device__ Taps taps_at(double scale, double offset, int64_t pixel, int64_t cells) {
    const double cell = cell_of(scale, offset, pixel);
    return is_inside(cell, cells) ? make_taps(cell) : Taps{kOutside, {0.0f, 0.0f, 0.0f, 0.0f}};
}

// maps [N, S, P+1, h, w], frames [frame_sets, S, 4], merged [N, P+1, H, W]
__global__ void __launch_bounds__(kThreads)
    resize_merge_forward_kernel(const float* __restrict__ maps, const double* __restrict__ frames,
                                float* __restrict__ merged, ResizeMerge params, int64_t tile_columns, int64_t tiles) {
    __shared__ Taps taps[kMaxScales][kTileTaps];  // a tile's columns, then its rows
    const int64_t cells = params.cell_height * params.cell_width, pixels = params.height * params.width;
    const int i_column = threadIdx.x % kTileWidth, i_row = threadIdx.x / kTileWidth;
    for (int64_t task = blockIdx.x; task < params.images * tiles; task += gridDim.x) {
        const int64_t n = task / tiles, tile = task % tiles;
        const int64_t left = tile % tile_columns * kTileWidth, top = tile / tile_columns * kTileHeight;
        const double* own_frames = frames + (params.frame_sets == 1 ? 0 : n) * params.scales * 4;
        for (int64_t index = threadIdx.x; index < params.scales * kTileTaps; index += kThreads) {
            const int64_t s = index / kTileTaps, i = index % kTileTaps;
            const double* frame = own_frames + 4 * s;
            taps[s][i] = i < kTileWidth ? taps_at(frame[0], frame[2], left + i, params.cell_width)
                                        : taps_at(frame[1], frame[3], top + i - kTileWidth, params.cell_height);
        }
        __syncthreads();
        const int64_t x = left + i_column, y = top + i_row;
        if (x < params.width && y < params.height) {
            for (int64_t p = 0; p < params.maps; ++p) {
                const float outside = p == params.maps - 1 ? 1.0f : 0.0f;
                float sum = 0.0f;
                for (int64_t s = 0; s < params.scales; ++s) {
                    const Taps &across = taps[s][i_column], &down = taps[s][kTileWidth + i_row];
                    const bool inside = across.first != kOutside && down.first != kOutside;
                    const float* map = maps + ((n * params.scales + s) * params.maps + p) * cells;
                    sum = rounded_sum(sum, inside ? resized_value(map, params.cell_height, params.cell_width, across,
                                                                  down)
                                                  : outside);
                }
                merged[(n * params.maps + p) * pixels + y * params.width + x] =
                    rounded_quotient(sum, static_cast<float>(params.scales));
            }
        }
        // The next tile's taps overwrite the values read here.
        __syncthreads();
    }
}

}  // namespace

void resize_merge_cuda(const float* maps, const double* frames, float* merged, const ResizeMerge& params, int device,
                       void* stream) {
    if (check_sizes(params) == 0) return;
    if (params.scales > kMaxScales) throw std::invalid_argument("there must be at most 32 scales");
    const int64_t tile_columns = (params.width + kTileWidth - 1) / kTileWidth;
    const int64_t tiles = element_count({tile_columns, (params.height + kTileHeight - 1) / kTileHeight});
    launch("resize_merge", resize_merge_forward_kernel, element_count({params.images, tiles}), kThreads, device, stream,
           maps, frames, merged, params, tile_columns, tiles);
}

}  // namespace cpm

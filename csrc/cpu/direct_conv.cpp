// Threads share the rows of outputs; the kernel is in spectral/direct.h. 3x3 16->32 @96 with its pool: 85 MFLOP, 0.6 MB
// in, 0.3 MB out.
//
// Versions, ms on 2 cores of an EPYC 9004 (AVX-512, 2 x 116 GFLOP/s), fp32, batch 1, within the network:
//
//                                   3x3 3->16  16->32   32->64   96->96   1x1 512->512  1x1 128->128
//                                   @192+pool  @96+pool @48+pool @24      @46           @46
//     oneDNN through PyTorch         0.77       0.72     0.62     0.59     6.3           0.75
//     1  rows padded in a ring,      0.19       0.40     0.38     0.42     5.3           0.38
//        8 cells x 3 vectors
//
// 170 to 230 GFLOP/s: what is left of 3x3 is arithmetic, which only transforms of small tiles would save.

#include "cpm/direct_conv.h"

#include <algorithm>

#include "cpm/sizes.h"
#include "spectral/bfloat16.h"
#include "spectral/split.h"

namespace cpm {
namespace {

using namespace spectral;

bool is_plain(const DirectConv& params) { return params.kernel == 1 && params.pool == 0; }

struct Layout {
    int64_t row_floats, pair_floats, bias_floats;

    explicit Layout(const DirectConv& params) {
        const int64_t blocks = blocks_of(params.outputs);
        row_floats = direct_row_floats(params.width, params.inputs, params.kernel, is_plain(params), params.bf16);
        pair_floats = params.pool == 0 ? 0 : 2 * blocks * params.width * kBlock;
        bias_floats = blocks * kBlock;
        row_floats = blocks_of(row_floats) * kBlock;
    }
    int64_t floats(int threads) const { return kBlock + bias_floats + threads * (row_floats + pair_floats); }
};

}  // namespace

void pack_weight_cpu(const float* weight, void* packed, int64_t outputs, int64_t inputs, int kernel, bool bf16,
                     int threads) {
    check_sizes(with_smallest_tile({0, 0, 0, inputs, outputs, kernel}));
    const int64_t taps = kernel * kernel, words = bf16 ? (inputs + 1) / 2 : inputs;
    threads::parallel_ranges(std::max(threads, 1), blocks_of(outputs) * taps, [&](int, int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
            const int64_t block = task / taps, tap = task % taps;
            const auto value = [&](int64_t output, int64_t input) {
                const bool exists = output < outputs && input < inputs;
                return exists ? weight[(output * inputs + input) * taps + tap] : 0.0f;
            };
            for (int64_t word = 0; word < words; ++word) {
                const int64_t place = (task * words + word) * kBlock;
                for (int lane = 0; lane < kBlock; ++lane) {
                    const int64_t output = block * kBlock + lane;
                    if (bf16) {
                        static_cast<uint32_t*>(packed)[place + lane] =
                            bfloat16_pair(value(output, 2 * word), value(output, 2 * word + 1));
                    } else {
                        static_cast<float*>(packed)[place + lane] = value(output, word);
                    }
                }
            }
        }
    });
}

int64_t direct_workspace(const DirectConv& params, int threads) {
    check_sizes(with_smallest_tile(params));
    return is_empty(with_smallest_tile(params)) ? 0 : Layout(params).floats(std::max(threads, 1));
}

void direct_conv_cpu(const float* x, const void* packed, const float* bias, float* out, const DirectConv& params,
                     bool relu, float* workspace, int threads) {
    check_sizes(with_smallest_tile(params));
    if (is_empty(with_smallest_tile(params))) return;
    const SpectralConv full = with_pitches(with_smallest_tile(params));
    const Layout layout(params);
    const int team = std::max(threads, 1);
    float* offsets = aligned(workspace);
    std::fill(std::copy(bias, bias + params.outputs, offsets), offsets + layout.bias_floats, 0.0f);
    const Kernels& run = kernels();
    const int64_t rows = params.images * params.height;
    const int64_t tasks = is_plain(params) ? (rows * params.width + kCellChunk - 1) / kCellChunk
                                           : params.pool == 0 ? rows : rows / 2;
    threads::parallel_ranges(team, tasks, [&](int member, int64_t begin, int64_t end) {
        float* own = offsets + layout.bias_floats + member * (layout.row_floats + layout.pair_floats);
        const Direct job{x, packed, offsets, out, params.images, params.height, params.width, params.inputs,
                         params.outputs, params.kernel, relu, full.x_pitch, full.out_pitch, own,
                         {params.pool, params.pool_padding, 1, own + layout.row_floats}};
        (is_plain(params) ? run.direct_cells : run.direct_rows)[params.bf16](job, begin, end);
    });
}

}  // namespace cpm

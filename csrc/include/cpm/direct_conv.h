// direct_conv: same-size k x k convolution by plain sums, for small kernels and channels, with bias, ReLU and pooling.
#pragma once

#include <cstdint>

namespace cpm {

struct DirectConv {
    int64_t images;   // N
    int64_t height;   // h
    int64_t width;    // w
    int64_t inputs;   // C
    int64_t outputs;  // O
    int kernel;       // k, odd, at most 15
    // As of SpectralConv.
    int64_t x_pitch = 0;
    int64_t out_pitch = 0;
    int pool = 0;
    int pool_padding = 0;
    bool bf16 = false;  // x and weights are rounded to bfloat16; sums and results are floats
};

// weight [O, C, k, k], packed [ceil(O / 16), k, k, C, 16], or with bf16 [.., ceil(C / 2), 16, 2] of bfloat16, written in
// full: 0 where there is no output or input.
//
// Throws std::invalid_argument for sizes that are negative, overflow or do not exist.
void pack_weight_cpu(const float* weight, void* packed, int64_t outputs, int64_t inputs, int kernel, bool bf16,
                     int threads);

// Floats of workspace that direct_conv_cpu needs.
int64_t direct_workspace(const DirectConv& params, int threads);

// x       [N, h, w, C], a cell every x_pitch floats
// packed  of pack_weight_cpu with the same bf16
// bias    [O]
// out     [N, h, w, O], or [N, h/2, w/2, O] with pool, a cell every out_pitch floats, written in full; with relu at
//         least 0, and NaN stays; a window that the map's border cuts has only the cells within
//
// The others contiguous; `workspace` of as many floats as direct_workspace says for the same params and threads. Any
// number of threads gives the same bits. Throws std::invalid_argument as above; does nothing when out is empty.
void direct_conv_cpu(const float* x, const void* packed, const float* bias, float* out, const DirectConv& params,
                     bool relu, float* workspace, int threads);

}  // namespace cpm

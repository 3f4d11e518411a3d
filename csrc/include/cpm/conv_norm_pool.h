// The first layers of a network in a training step, as one: 3x3 convolution of few inputs, batch normalization, ReLU and
// the maximum over windows of 2 x 2 cells. The map between them is larger than all others and never exists as a whole.
#pragma once

#include <cstdint>

namespace cpm {

struct ConvNormPool {
    int64_t images;   // N
    int64_t height;   // h, even
    int64_t width;    // w, even
    int64_t inputs;   // C
    int64_t outputs;  // O
    double eps;
    bool bf16 = false;  // y and its gradient: bfloat16, not float
};

// x         [N, h, w, C]
// weight    [O, C, 3, 3]; bias [O]
// scale     [O]; shift [O], of the normalization
// y         [N, h/2, w/2, O], written
// places    like y, written: which of a window's four cells is the largest, 1 to 4, or 0 where the ReLU is closed
// mean      [O], written
// variance  [O], written: the mean square distance from the mean
// moments   [1 + 9 C, 9 C], written: the mean of each tap of the window over all cells, then their covariances; taps are
//           [3 rows, 3 columns, C], 0 around the image
//
// Any number of threads gives the same bits. Throws std::invalid_argument for no cells, odd sides, or no input.
void conv_norm_pool_cpu(const float* x, const float* weight, const float* bias, const float* scale, const float* shift,
                        void* y, unsigned char* places, float* mean, float* variance, double* moments,
                        const ConvNormPool& params, int threads);

// dy       like y
// dweight  [O, C, 3, 3], written; dscale [O], written; dshift [O], written. That of the bias is 0: the mean takes it away.
void conv_norm_pool_gradient_cpu(const void* dy, const unsigned char* places, const float* x, const float* weight,
                                 const float* scale, const float* variance, const double* moments, float* dweight,
                                 float* dscale, float* dshift, const ConvNormPool& params, int threads);

}  // namespace cpm

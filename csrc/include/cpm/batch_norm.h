// Batch normalization of a training step with its ReLU and pool, and their gradients, in channels_last.
#pragma once

#include <cstdint>

namespace cpm {

struct BatchNorm {
    int64_t cells;  // N h w
    int64_t channels;
    double eps;
    bool relu;
    int64_t pooled_width = 0;  // w if the maximum over windows of 2 x 2 cells follows; h and w even
    bool bf16 = false;         // x, y and their gradients: bfloat16, not float
};

// x         [cells, C]
// weight    [C]; bias [C]
// y         [cells, C], or [cells / 4, C] with a pool, written: (x - mean) / sqrt(variance + eps) weight + bias, and what
//           ReLU and pool make of it
// mean      [C], written
// variance  [C], written: the mean square distance from the mean
//
// Any number of threads gives the same bits. Throws std::invalid_argument for no cells, or odd sides before a pool.
void batch_norm_cpu(const void* x, const float* weight, const float* bias, void* y, float* mean, float* variance,
                    const BatchNorm& params, int threads);

// dy        like y
// x, weight, bias, mean, variance: as above
// dx        [cells, C], written
// dweight   [C], written; dbias [C], written
void batch_norm_gradient_cpu(const void* dy, const void* x, const float* weight, const float* bias, const float* mean,
                             const float* variance, void* dx, float* dweight, float* dbias, const BatchNorm& params,
                             int threads);

}  // namespace cpm

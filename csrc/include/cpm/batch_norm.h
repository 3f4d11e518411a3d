// Batch normalization of a training step with its ReLU, and their gradients, in channels_last.
#pragma once

#include <cstdint>

namespace cpm {

struct BatchNorm {
    int64_t cells;  // N h w
    int64_t channels;
    double eps;
    bool relu;
};

// x         [cells, C]
// weight    [C]; bias [C]
// y         [cells, C], written: (x - mean) / sqrt(variance + eps) weight + bias, and what ReLU makes of it
// mean      [C], written
// variance  [C], written: the mean square distance from the mean
//
// Any number of threads gives the same bits. Throws std::invalid_argument for no cells.
void batch_norm_cpu(const float* x, const float* weight, const float* bias, float* y, float* mean, float* variance,
                    const BatchNorm& params, int threads);

// dy        [cells, C]
// x, weight, bias, mean, variance: as above
// dx        [cells, C], written
// dweight   [C], written; dbias [C], written
void batch_norm_gradient_cpu(const float* dy, const float* x, const float* weight, const float* bias, const float* mean,
                             const float* variance, float* dx, float* dweight, float* dbias, const BatchNorm& params,
                             int threads);

}  // namespace cpm

// winograd_conv: same-size 3x3 convolution by Winograd's minimal filtering, with bias, ReLU and pooling.
#pragma once

#include <cstdint>
#include <vector>

#include "cpm/direct_conv.h"

namespace cpm {

// Products for each input and output of a tile of 4 x 4 outputs, where plain sums need 144.
constexpr int kWinogradProducts = 36;

// weight       [O, C, 3, 3]
// transformed  [36, ceil(O / 16), C, 16], or with bf16 [.., ceil(C / 2), 16, 2] of bfloat16, written in full: 0 where
//              there is no output or input. With `adjoint` they are of the transposed convolution, O and C exchanged
//
// Throws std::invalid_argument for sizes that are negative, overflow or do not exist.
void winograd_weight_cpu(const float* weight, void* transformed, int64_t outputs, int64_t inputs, bool adjoint,
                         bool bf16, int threads);

// Floats of workspace that winograd_conv_cpu needs.
int64_t winograd_workspace(const DirectConv& params, int threads);

// As direct_conv_cpu with a kernel of 3 and a pool of 2 or none, and `transformed` of winograd_weight_cpu with the same
// bf16: then transformed maps are rounded to bfloat16, and sums and results are floats.
//
// Returns the images that must be done in another way, as spectral_conv_cpu does, but magnitudes may be 1024 times apart
// only. Any number of threads gives the same bits.
std::vector<int64_t> winograd_conv_cpu(const float* x, const void* transformed, const float* bias, float* out,
                                       const DirectConv& params, bool relu, float* workspace, int threads);

}  // namespace cpm

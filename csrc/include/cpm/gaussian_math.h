// The per-element maths of gaussian_targets, the same on CPU and GPU.
//
// At the edge of a peak the value jumps from 1 % to 0, so every backend must make the same decision whether a cell is
// lit: in float32, with each product and sum rounded separately (no fused multiply-add), against one float32 bound
// derived in double on the host.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpm/rounded.h"

namespace cpm {

// Peaks are cut below exp(-4.6052) = 1 %, as in the authors' data layer.
constexpr double kLogCutoff = 4.6052;

struct Gaussian {
    float stride;  // box pixels per cell
    float first;   // box pixel of cell 0
    float scale;   // 1 / (2 sigma^2), 1/px^2
    float cutoff;  // largest squared distance that is lit, px^2
};

inline Gaussian make_gaussian(double sigma, double stride) {
    const double width = 2.0 * sigma * sigma;
    return {static_cast<float>(stride), static_cast<float>(stride / 2.0 - 0.5), static_cast<float>(1.0 / width),
            static_cast<float>(kLogCutoff * width)};
}

// The squared distance, on one axis, of cell `cell` from box pixel `pixel`.
CPM_HOST_DEVICE inline float squared_offset(const Gaussian& gaussian, int64_t cell, float pixel) {
    const float center = rounded_sum(rounded_product(static_cast<float>(cell), gaussian.stride), gaussian.first);
    const float offset = rounded_sum(center, -pixel);
    return rounded_product(offset, offset);
}

// Returns false for positions that are not finite.
CPM_HOST_DEVICE inline bool is_lit(const Gaussian& gaussian, float squared_x, float squared_y) {
    return rounded_sum(squared_x, squared_y) <= gaussian.cutoff;
}

// One axis' factor of the peak; the peak is the product of both.
CPM_HOST_DEVICE inline float falloff(const Gaussian& gaussian, float squared) {
    return expf(-rounded_product(squared, gaussian.scale));
}

}  // namespace cpm

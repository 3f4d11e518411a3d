// The per-pixel maths of resize_merge and merge_peaks, the same on CPU and GPU and in the float32 reference: one order
// of operations, each rounded on its own, so that the fused form finds the very values of the materialized one.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpm/rounded.h"

namespace cpm {

// One frame: output pixel -> map cell, cell = s * pixel + o on each axis.
struct Frame {
    double sx, sy, ox, oy;
};

// The four cells a pixel sees on one axis, and their weights.
struct Taps {
    int64_t first;  // -2 to cells - 2; cells beyond the border are the border's
    float weight[4];
};

CPM_HOST_DEVICE inline double cell_of(double scale, double offset, int64_t pixel) {
    return rounded_sum(rounded_product(scale, static_cast<double>(pixel)), offset);
}

// Returns whether a cell position lies within a map of `cells`, whose cells reach half a cell to each side; false for
// NaN.
CPM_HOST_DEVICE inline bool is_inside(double cell, int64_t cells) {
    return cell >= -0.5 && cell <= static_cast<double>(cells) - 0.5;
}

// Keys 1981, Eq. 15, a = -0.5: distance at most 1, and 1 to 2.
CPM_HOST_DEVICE inline double keys_near(double d) {
    const double slope = rounded_sum(rounded_product(1.5, d), -2.5);
    return rounded_sum(rounded_product(rounded_product(slope, d), d), 1.0);
}

CPM_HOST_DEVICE inline double keys_far(double d) {
    const double slope = rounded_sum(rounded_product(-0.5, d), 2.5);
    return rounded_sum(rounded_product(rounded_sum(rounded_product(slope, d), -4.0), d), 2.0);
}

// For a position that is inside.
CPM_HOST_DEVICE inline Taps make_taps(double cell) {
    const double below = std::floor(cell);
    return {static_cast<int64_t>(below) - 1,
            {static_cast<float>(keys_far(rounded_sum(cell, 1.0 - below))),
             static_cast<float>(keys_near(rounded_sum(cell, -below))),
             static_cast<float>(keys_near(rounded_sum(below + 1.0, -cell))),
             static_cast<float>(keys_far(rounded_sum(below + 2.0, -cell)))}};
}

CPM_HOST_DEVICE inline float weighted_sum(float w0, float w1, float w2, float w3, float a, float b, float c, float d) {
    return rounded_sum(rounded_sum(rounded_sum(rounded_product(w0, a), rounded_product(w1, b)), rounded_product(w2, c)),
                       rounded_product(w3, d));
}

// Returns one value of map [h, w]; cells beyond the border are the border's.
CPM_HOST_DEVICE inline float resized_value(const float* map, int64_t height, int64_t width, const Taps& across,
                                           const Taps& down) {
    int64_t column[4];
    float rows[4];
    for (int k = 0; k < 4; ++k) {
        const int64_t j = across.first + k;
        column[k] = j < 0 ? 0 : j < width ? j : width - 1;
    }
    for (int k = 0; k < 4; ++k) {
        const int64_t i = down.first + k;
        const float* row = map + (i < 0 ? 0 : i < height ? i : height - 1) * width;
        rows[k] = weighted_sum(across.weight[0], across.weight[1], across.weight[2], across.weight[3], row[column[0]],
                               row[column[1]], row[column[2]], row[column[3]]);
    }
    return weighted_sum(down.weight[0], down.weight[1], down.weight[2], down.weight[3], rows[0], rows[1], rows[2],
                        rows[3]);
}

// The most and the least that one axis can make of four cells, with the pixel between `b` and `c`. There the weights of
// b and c are positive with sum 1 + q, those of a and d negative with sum -q, and q = t (1 - t) / 2 is 0 to 1/8.
CPM_HOST_DEVICE inline float most_between(float a, float b, float c, float d) {
    const float most = b > c ? b : c, least = a < d ? a : d;
    const float excess = most - least;
    return most + (excess > 0.0f ? excess : 0.0f) * 0.125f;
}

CPM_HOST_DEVICE inline float least_between(float a, float b, float c, float d) {
    const float least = b < c ? b : c, most = a > d ? a : d;
    const float excess = most - least;
    return least - (excess > 0.0f ? excess : 0.0f) * 0.125f;
}

// Beyond this the bounds could overflow; such maps, and those with cells that are not finite, are not pruned.
constexpr float kLargestPruned = 1e30f;

// The amount by which the sum over scales may exceed the sum of their bounds through rounding. Seven roundings a pass
// on values of at most 1.25 of the largest cell, twice, make 27 half ulps a scale; six more in the bound, one each in
// both sums a scale, two where the mean may round to a tie: below 64 + 4 S, and doubled here. The constant covers
// subnormals.
CPM_HOST_DEVICE inline float rounding_slack(float magnitudes, int64_t scales) {
    constexpr float kHalfUlp = 5.9604645e-8f;
    return (128.0f + 8.0f * static_cast<float>(scales)) * kHalfUlp * magnitudes + 1e-30f;
}

}  // namespace cpm

// Random inputs of gaussian_targets: some points lie beyond the box, some are unlabeled and NaN.
#pragma once

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "cpm/gaussian_targets.h"

namespace cpm_test {

struct Points {
    std::vector<float> parts;    // [N, K, P, 2]
    std::vector<char> labeled;  // [N, K, P]
};

inline Points random_points(const cpm::GaussianTargets& params, unsigned seed) {
    std::mt19937 generator(seed);
    const float extent = static_cast<float>(params.stride) * static_cast<float>(std::max(params.height, params.width));
    std::uniform_real_distribution<float> position(-0.2f * extent, 1.2f * extent);
    std::bernoulli_distribution is_labeled(0.8);
    Points points;
    for (int64_t point = 0; point < params.images * params.people * params.parts; ++point) {
        const bool label = is_labeled(generator);
        points.labeled.push_back(label);
        for (int axis = 0; axis < 2; ++axis) {
            points.parts.push_back(label ? position(generator) : std::numeric_limits<float>::quiet_NaN());
        }
    }
    return points;
}

}  // namespace cpm_test

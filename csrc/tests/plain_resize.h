// resize_merge and peaks as plain loops over their definition, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpm/resize_merge.h"

namespace cpm_test {

inline double keys(double distance) {
    const double d = std::abs(distance);
    if (d <= 1.0) return 1.5 * d * d * d - 2.5 * d * d + 1.0;
    return d < 2.0 ? -0.5 * d * d * d + 2.5 * d * d - 4.0 * d + 2.0 : 0.0;
}

// [N, P+1, H, W]
inline std::vector<double> plain_resize_merge(const std::vector<float>& maps, const std::vector<double>& frames,
                                              const cpm::ResizeMerge& params) {
    const int64_t h = params.cell_height, w = params.cell_width;
    std::vector<double> merged;
    for (int64_t n = 0; n < params.images; ++n)
        for (int64_t p = 0; p < params.maps; ++p)
            for (int64_t y = 0; y < params.height; ++y)
                for (int64_t x = 0; x < params.width; ++x) {
                    double sum = 0.0;
                    for (int64_t s = 0; s < params.scales; ++s) {
                        const double* frame = frames.data() + 4 * ((params.frame_sets == 1 ? 0 : n) * params.scales + s);
                        const double cx = frame[0] * x + frame[2], cy = frame[1] * y + frame[3];
                        if (!(cx >= -0.5 && cx <= w - 0.5 && cy >= -0.5 && cy <= h - 0.5)) {
                            sum += p == params.maps - 1;
                            continue;
                        }
                        const float* map = maps.data() + ((n * params.scales + s) * params.maps + p) * h * w;
                        const int64_t left = static_cast<int64_t>(std::floor(cx)) - 1;
                        const int64_t top = static_cast<int64_t>(std::floor(cy)) - 1;
                        for (int64_t i = top; i < top + 4; ++i)
                            for (int64_t j = left; j < left + 4; ++j)
                                sum += keys(cy - i) * keys(cx - j) *
                                       map[std::clamp<int64_t>(i, 0, h - 1) * w + std::clamp<int64_t>(j, 0, w - 1)];
                    }
                    merged.push_back(sum / static_cast<double>(params.scales));
                }
    return merged;
}

// Returns the first of the highest values that are not NaN; -1 if all are.
template <typename T>
int64_t plain_peak(const T* map, int64_t count) {
    int64_t best = -1;
    for (int64_t index = 0; index < count; ++index) {
        if (map[index] == map[index] && (best < 0 || map[index] > map[best])) best = index;
    }
    return best;
}

}  // namespace cpm_test

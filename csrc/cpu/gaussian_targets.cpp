// Only the window around each peak is visited, at most 3.035 sigma to each side. A peak is the product of one factor
// per column and one per row, so a window of a x b cells costs a + b exponentials. The background needs no pass of its
// own: sums only grow, so a running minimum of 1 - sum is 1 - max after the last peak.
//
//     14 parts, 46 x 46 cells, sigma 7, stride 8: 127 kB written, then 14 windows of at most 8 x 8 cells.

#include "cpm/gaussian_targets.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpm/gaussian_math.h"
#include "cpm/sizes.h"
#include "cpm/threads.h"

namespace cpm {
namespace {

struct Window {
    int64_t begin, end;
};

// The cells around `pixel` that can be lit, with one more to each side: is_lit decides.
Window window_about(const Gaussian& gaussian, float pixel, int64_t cells) {
    const double position = (static_cast<double>(pixel) - gaussian.first) / gaussian.stride;
    const double reach = std::sqrt(static_cast<double>(gaussian.cutoff)) / gaussian.stride + 1.0;
    const double limit = static_cast<double>(cells);
    return {static_cast<int64_t>(std::clamp(std::floor(position - reach), 0.0, limit)),
            static_cast<int64_t>(std::clamp(std::ceil(position + reach) + 1.0, 0.0, limit))};
}

// Adds one peak to map and removes it from background; both [h, w]. squared and factor are scratch of w each.
void draw_peak(const Gaussian& gaussian, float x, float y, int64_t height, int64_t width, float* map,
               float* background, float* squared, float* factor) {
    const Window columns = window_about(gaussian, x, width), rows = window_about(gaussian, y, height);
    for (int64_t j = columns.begin; j < columns.end; ++j) {
        squared[j] = squared_offset(gaussian, j, x);
        factor[j] = falloff(gaussian, squared[j]);
    }
    for (int64_t i = rows.begin; i < rows.end; ++i) {
        const float row_squared = squared_offset(gaussian, i, y);
        const float row_factor = falloff(gaussian, row_squared);
        float* sums = map + i * width;
        float* rest = background + i * width;
        for (int64_t j = columns.begin; j < columns.end; ++j) {
            const float value = is_lit(gaussian, squared[j], row_squared) ? factor[j] * row_factor : 0.0f;
            // Clipping early equals clipping the whole sum, since no negative value is ever added.
            sums[j] = std::min(sums[j] + value, 1.0f);
            rest[j] = std::min(rest[j], 1.0f - sums[j]);
        }
    }
}

// parts [K, P, 2], labeled [K, P], maps [P+1, h, w], scratch [2, w]
void draw_image(const float* parts, const bool* labeled, float* maps, const GaussianTargets& params,
                const Gaussian& gaussian, float* scratch) {
    const int64_t cells = params.height * params.width;
    float* background = maps + params.parts * cells;
    std::fill(maps, background, 0.0f);
    std::fill(background, background + cells, 1.0f);
    for (int64_t k = 0; k < params.people; ++k) {
        for (int64_t p = 0; p < params.parts; ++p) {
            const int64_t point = k * params.parts + p;
            const float x = parts[2 * point], y = parts[2 * point + 1];
            if (!labeled[point] || !std::isfinite(x) || !std::isfinite(y)) continue;
            draw_peak(gaussian, x, y, params.height, params.width, maps + p * cells, background, scratch,
                      scratch + params.width);
        }
    }
}

}  // namespace

void gaussian_targets_cpu(const float* parts, const bool* labeled, float* maps, const GaussianTargets& params,
                          int threads) {
    const int64_t points = element_count({params.people, params.parts, 2});
    element_count({params.images, params.people, params.parts, 2});
    const int64_t map_cells = element_count({params.parts + 1, params.height, params.width});
    if (element_count({params.images, map_cells}) == 0) return;

    const Gaussian gaussian = make_gaussian(params.sigma, params.stride);
    const int team = static_cast<int>(std::clamp<int64_t>(threads, 1, params.images));
    const int64_t scratch_size = element_count({2, params.width});
    // The scratch is allocated here, since nothing may throw inside the parallel region.
    std::vector<float> scratch(static_cast<size_t>(element_count({team, scratch_size})));

    threads::parallel(team, params.images, [&](int member, int64_t n) {
        draw_image(parts + n * points, labeled + n * points / 2, maps + n * map_cells, params, gaussian,
                   scratch.data() + member * scratch_size);
    });
}

}  // namespace cpm

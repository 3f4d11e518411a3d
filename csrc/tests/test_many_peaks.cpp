// many_peaks_cpu against a plain loop over its definition.

#include "cpm/many_peaks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Returns the places of a map's peaks, the highest first, by comparing two cells at a time.
std::vector<int64_t> plain_peaks(const float* map, const cpm::ManyPeaks& params) {
    std::vector<int64_t> found;
    const int64_t cells = params.height * params.width;
    for (int64_t i = 0; i < cells; ++i) {
        bool peak = map[i] > params.threshold;
        for (int64_t k = 0; k < cells; ++k) {
            const int64_t rows = std::abs(k / params.width - i / params.width);
            const int64_t columns = std::abs(k % params.width - i % params.width);
            if (std::max(rows, columns) > params.radius || k == i) continue;
            if (map[k] > map[i] || (map[k] == map[i] && k < i)) peak = false;
        }
        if (peak) found.push_back(i);
    }
    std::stable_sort(found.begin(), found.end(), [&](int64_t a, int64_t b) { return map[a] > map[b]; });
    return found;
}

void test_matches_plain_loop() {
    std::mt19937 generator(21);
    const float strange[] = {kNan, kInfinity, -kInfinity, 0.0f, -0.0f, 3e38f};
    for (int trial = 0; trial < 2000; ++trial) {
        const cpm::ManyPeaks params{1 + static_cast<int64_t>(generator() % 3), 1 + static_cast<int64_t>(generator() % 9),
                                    1 + static_cast<int64_t>(generator() % 12),
                                    trial % 7 == 0 ? -kInfinity : static_cast<float>(generator() % 5) - 1.0f,
                                    trial % 11 == 0 ? int64_t{1} << 40 : 1 + static_cast<int64_t>(generator() % 4)};
        const int64_t cells = params.height * params.width, most = cpm::most_peaks(params);
        std::vector<float> maps(params.maps * cells);
        // Few values, so that there are ties.
        for (float& value : maps) {
            value = generator() % 12 == 0 ? strange[generator() % 6] : static_cast<float>(generator() % 6);
        }
        std::vector<float> points(2 * params.maps * most, 7.0f), scores(params.maps * most, 7.0f);
        cpm::many_peaks_cpu(maps.data(), points.data(), scores.data(), params, trial % 50 == 0 ? 3 : 1);
        for (int64_t m = 0; m < params.maps; ++m) {
            const float* map = maps.data() + m * cells;
            const auto wanted = plain_peaks(map, params);
            CHECK(static_cast<int64_t>(wanted.size()) <= most);
            for (int64_t k = 0; k < most; ++k) {
                const float x = points[2 * (m * most + k)], y = points[2 * (m * most + k) + 1];
                const float score = scores[m * most + k];
                if (k >= static_cast<int64_t>(wanted.size())) {
                    CHECK(x == 0.0f && y == 0.0f && score == -kInfinity);
                    continue;
                }
                CHECK(score == map[wanted[k]]);
                CHECK(std::abs(x - static_cast<float>(wanted[k] % params.width)) <= 0.5f);
                CHECK(std::abs(y - static_cast<float>(wanted[k] / params.width)) <= 0.5f);
            }
        }
    }
}

void test_between_cells() {
    const float map[] = {0, 0, 0, 0, 1, 2, 1.5f, 0, 0, 0.5f, 0, 0};
    float points[8], scores[4];
    cpm::many_peaks_cpu(map, points, scores, {1, 3, 4, 0.5f, 1}, 1);
    CHECK(std::abs(points[0] - (1 + 1.0f / 6)) < 1e-6f && scores[0] == 2.0f && scores[1] == -kInfinity);
}

void test_sizes() {
    cpm::many_peaks_cpu(nullptr, nullptr, nullptr, {0, 4, 4, 0, 1}, 2);
    const int64_t large = int64_t{1} << 31;
    for (const cpm::ManyPeaks& params :
         {cpm::ManyPeaks{2, 0, 4, 0, 1}, cpm::ManyPeaks{2, 4, -1, 0, 1}, cpm::ManyPeaks{1, 4, 4, 0, 0},
          cpm::ManyPeaks{1, 4, 4, 0, std::numeric_limits<int64_t>::max()}, cpm::ManyPeaks{1, large, 4, 0, 1},
          cpm::ManyPeaks{int64_t{1} << 40, 1 << 15, 1 << 15, 0, 1}}) {
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::many_peaks_cpu(nullptr, nullptr, nullptr, params, 2); }));
    }
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_between_cells();
    test_sizes();
    return cpm_test::finish();
}

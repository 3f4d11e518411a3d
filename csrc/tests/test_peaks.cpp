// peaks_cpu against a plain loop, and the reduction of the CUDA kernels stepped through on the host.

#include "cpm/peaks.h"

#include <cmath>
#include <random>
#include <stdexcept>

#include "check.h"
#include "cpm/peak_math.h"
#include "plain_resize.h"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Few different values of all kinds, so that there are ties.
std::vector<float> random_map(std::mt19937& generator, int64_t count) {
    const float values[] = {kNan, -kNan, kInfinity, -kInfinity, 0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f, 1.0f, -1.0f};
    const int first = static_cast<int>(generator() % 12), kinds = 1 + static_cast<int>(generator() % 12);
    std::vector<float> map;
    while (static_cast<int64_t>(map.size()) < count) map.push_back(values[(first + generator() % kinds) % 12]);
    return map;
}

void test_matches_plain_loop() {
    std::mt19937 generator(5);
    for (int trial = 0; trial < 3000; ++trial) {
        const int64_t height = 1 + generator() % 9, width = 1 + generator() % 40, maps = 1 + generator() % 3;
        const auto values = random_map(generator, maps * height * width);
        std::vector<float> points(2 * maps, 7.0f), scores(maps, 7.0f), fine(2 * maps), same(maps);
        cpm::peaks_cpu(values.data(), points.data(), scores.data(), {maps, height, width, false},
                       trial % 100 == 0 ? 3 : 1);
        cpm::peaks_cpu(values.data(), fine.data(), same.data(), {maps, height, width, true}, 1);
        for (int64_t m = 0; m < maps; ++m) {
            const float* map = values.data() + m * height * width;
            const int64_t best = cpm_test::plain_peak(map, height * width);
            if (best < 0) {
                CHECK(std::isnan(points[2 * m]) && std::isnan(points[2 * m + 1]) && std::isnan(scores[m]));
                CHECK(std::isnan(fine[2 * m]) && std::isnan(same[m]));
                continue;
            }
            CHECK(points[2 * m] == best % width && points[2 * m + 1] == best / width && scores[m] == map[best]);
            CHECK(same[m] == scores[m] && std::abs(fine[2 * m] - points[2 * m]) <= 0.5f);
        }
    }
}

// Maps of many chunks and pieces, nearly all of one value, so that the peak and its ties may be anywhere.
void test_matches_plain_loop_on_large_maps() {
    std::mt19937 generator(7);
    const int64_t heights[] = {1, 64, 211, 368}, widths[] = {32, 64, 97, 368};
    for (int trial = 0; trial < 400; ++trial) {
        const int64_t height = heights[generator() % 4], width = trial % 5 == 0 ? 2048 : widths[generator() % 4];
        const int64_t count = height * width, maps = 1 + generator() % 2;
        std::vector<float> values;
        for (int64_t m = 0; m < maps; ++m) {
            const auto few = random_map(generator, 12);
            values.insert(values.end(), count, few[0]);
            for (const float value : few) values[m * count + generator() % count] = value;
        }
        std::vector<float> points(2 * maps, 7.0f), scores(maps, 7.0f);
        cpm::peaks_cpu(values.data(), points.data(), scores.data(), {maps, height, width, false}, 1 + trial % 3);
        for (int64_t m = 0; m < maps; ++m) {
            const int64_t best = cpm_test::plain_peak(values.data() + m * count, count);
            const bool right = best < 0 ? std::isnan(points[2 * m]) && std::isnan(scores[m])
                                        : points[2 * m] == best % width && points[2 * m + 1] == best / width &&
                                              scores[m] == values[m * count + best];
            CHECK(right);
        }
    }
}

void test_vertex() {
    CHECK(std::abs(cpm::vertex(0, 2, 1) - 1.0f / 6) < 1e-7f && cpm::vertex(1, 2, 2) == 0.5f);
    CHECK(cpm::vertex(1, 1, 1) == 0.0f && cpm::vertex(1, 2, 1) == 0.0f && cpm::vertex(0, 0, 1) == 0.0f);
    for (const float odd : {kNan, kInfinity, -kInfinity}) {
        CHECK(cpm::vertex(odd, 2, 1) == 0.0f && cpm::vertex(1, 2, odd) == 0.0f && cpm::vertex(1, odd, 1) == 0.0f);
    }
}

// The work of a block of `threads` on one map: each thread reduces its stride of pixels, then a tree reduces those.
cpm::Candidate reduce(const std::vector<float>& map, int threads) {
    std::vector<cpm::Candidate> shared(threads, 0);
    for (int t = 0; t < threads; ++t) {
        for (size_t i = t; i < map.size(); i += threads) {
            shared[t] = std::max(shared[t], cpm::candidate(map[i], static_cast<int64_t>(i)));
        }
    }
    for (int half = threads / 2; half > 0; half /= 2) {
        for (int t = 0; t < threads; ++t) cpm::reduce_step(shared.data(), t, half);
    }
    return shared[0];
}

void test_reduction_steps() {
    std::mt19937 generator(6);
    for (int trial = 0; trial < 3000; ++trial) {
        const auto map = random_map(generator, 1 + generator() % 700);
        const int64_t best = cpm_test::plain_peak(map.data(), static_cast<int64_t>(map.size()));
        for (const int threads : {1, 32, 256}) {
            const cpm::Candidate found = reduce(map, threads);
            CHECK(best < 0 ? found == 0 : cpm::index_of(found) == best && cpm::value_of(found) == map[best]);
        }
    }
    CHECK(cpm::index_of(cpm::candidate(-kInfinity, 0xfffffffe)) == 0xfffffffe);
}

void test_sizes() {
    cpm::peaks_cpu(nullptr, nullptr, nullptr, {0, 4, 4, true}, 2);
    for (const cpm::Peaks& params : {cpm::Peaks{2, 0, 4, true}, cpm::Peaks{2, 4, -1, true},
                                     cpm::Peaks{int64_t{1} << 40, 1 << 20, 1 << 20, true}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::peaks_cpu(nullptr, nullptr, nullptr, params, 2); }));
    }
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_matches_plain_loop_on_large_maps();
    test_vertex();
    test_reduction_steps();
    test_sizes();
    return cpm_test::finish();
}

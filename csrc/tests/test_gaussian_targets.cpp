// gaussian_targets_cpu against a plain loop over every cell, and sizes that it must refuse or skip.

#include "cpm/gaussian_targets.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "case_tables.h"
#include "check.h"
#include "cpm/gaussian_math.h"
#include "cpm/sizes.h"
#include "random_points.h"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Two float exponentials and their product, against one double exponential.
constexpr double kTolerance = 1e-6;

using Input = cpm_test::Points;

std::vector<float> run(const Input& input, const cpm::GaussianTargets& params, int threads) {
    std::vector<float> maps(params.images * (params.parts + 1) * params.height * params.width, kNan);
    cpm::gaussian_targets_cpu(input.parts.data(), reinterpret_cast<const bool*>(input.labeled.data()), maps.data(),
                              params, threads);
    return maps;
}

// The definition in double; only the decision whether a cell is lit is in float, as gaussian_math.h defines it.
std::vector<double> plain(const Input& input, const cpm::GaussianTargets& params) {
    const cpm::Gaussian gaussian = cpm::make_gaussian(params.sigma, params.stride);
    std::vector<double> maps;
    for (int64_t n = 0; n < params.images; ++n) {
        std::vector<double> background(params.height * params.width, 1.0);
        for (int64_t p = 0; p < params.parts; ++p) {
            for (int64_t cell = 0; cell < params.height * params.width; ++cell) {
                const int64_t i = cell / params.width, j = cell % params.width;
                double sum = 0.0;
                for (int64_t k = 0; k < params.people; ++k) {
                    const int64_t point = (n * params.people + k) * params.parts + p;
                    const float x = input.parts[2 * point], y = input.parts[2 * point + 1];
                    if (!input.labeled[point] || !std::isfinite(x) || !std::isfinite(y)) continue;
                    const double dx = params.stride * j + params.stride / 2 - 0.5 - x;
                    const double dy = params.stride * i + params.stride / 2 - 0.5 - y;
                    if (cpm::is_lit(gaussian, cpm::squared_offset(gaussian, j, x), cpm::squared_offset(gaussian, i, y)))
                        sum += std::exp(-(dx * dx + dy * dy) / (2.0 * params.sigma * params.sigma));
                }
                maps.push_back(std::min(sum, 1.0));
                background[cell] = std::min(background[cell], 1.0 - maps.back());
            }
        }
        maps.insert(maps.end(), background.begin(), background.end());
    }
    return maps;
}

double largest_error(const std::vector<float>& maps, const std::vector<double>& wanted) {
    double error = maps.size() == wanted.size() ? 0.0 : std::numeric_limits<double>::infinity();
    for (size_t index = 0; index < std::min(maps.size(), wanted.size()); ++index) {
        const double difference = std::abs(maps[index] - wanted[index]);
        error = difference <= error ? error : std::isnan(difference) ? 1e9 : difference;
    }
    return error;
}

void test_matches_plain_loop() {
    unsigned seed = 1;
    for (const auto& params : cpm_test::kGaussianCases) {
        const Input input = cpm_test::random_points(params, seed++);
        const auto wanted = plain(input, params);
        for (const int threads : {1, 2, 7}) CHECK(largest_error(run(input, params, threads), wanted) < kTolerance);
        CHECK(run(input, params, 1) == run(input, params, 4));
    }
}

void test_peaks_add_and_clip() {
    const cpm::GaussianTargets params{1, 2, 1, 5, 5, 7.0, 8.0};
    const Input input{{19.5f, 19.5f, 19.5f, 19.5f}, {1, 1}};  // both on the center of cell (2, 2)
    const auto maps = run(input, params, 1);
    CHECK(maps[12] == 1.0f && maps[25 + 12] == 0.0f);
    CHECK(std::abs(maps[13] - std::min(1.0, 2.0 * std::exp(-64.0 / 98.0))) < kTolerance);
    CHECK(maps[0] == 0.0f && maps[25] == 1.0f);
}

void test_positions_that_are_nowhere() {
    const float infinite = std::numeric_limits<float>::infinity(), huge = 3e38f;
    for (const float x : {kNan, infinite, -infinite, huge, -huge}) {
        const cpm::GaussianTargets params{1, 1, 1, 4, 6, 7.0, 8.0};
        for (const auto& parts : {std::vector<float>{x, 5.0f}, std::vector<float>{5.0f, x}}) {
            const auto maps = run({parts, {1}}, params, 1);
            CHECK(std::all_of(maps.begin(), maps.begin() + 24, [](float value) { return value == 0.0f; }));
            CHECK(std::all_of(maps.begin() + 24, maps.end(), [](float value) { return value == 1.0f; }));
        }
    }
}

void test_sizes() {
    CHECK(cpm::element_count({3, 0, std::numeric_limits<int64_t>::max(), 9}) == 0);
    CHECK(cpm::element_count({3, 5, 7}) == 105);
    CHECK(cpm_test::throws<std::invalid_argument>([] { cpm::element_count({2, -1}); }));
    CHECK(cpm_test::throws<std::invalid_argument>([] { cpm::element_count({int64_t{1} << 40, int64_t{1} << 40}); }));

    // Null pointers: no memory may be accessed.
    for (const cpm::GaussianTargets& params : {cpm::GaussianTargets{0, 1, 14, 46, 46, 7.0, 8.0},
                                               cpm::GaussianTargets{2, 1, 14, 0, 46, 7.0, 8.0},
                                               cpm::GaussianTargets{2, 1, 14, 46, 0, 7.0, 8.0}}) {
        cpm::gaussian_targets_cpu(nullptr, nullptr, nullptr, params, 4);
    }
    const int64_t large = int64_t{1} << 31;
    CHECK(cpm_test::throws<std::invalid_argument>(
        [&] { cpm::gaussian_targets_cpu(nullptr, nullptr, nullptr, {large, 1, 14, large, large, 7.0, 8.0}, 4); }));
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_peaks_add_and_clip();
    test_positions_that_are_nowhere();
    test_sizes();
    return cpm_test::finish();
}

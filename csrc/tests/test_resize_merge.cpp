// resize_merge_cpu against plain loops in double, and sizes that it must refuse or skip.

#include "cpm/resize_merge.h"

#include <cmath>
#include <stdexcept>

#include "case_tables.h"
#include "check.h"
#include "plain_resize.h"
#include "random_stack.h"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Values up to 2 through eight float weights that sum, in magnitude, to 1.56.
constexpr double kTolerance = 3e-6;

std::vector<float> run(const cpm_test::Stack& stack, int threads) {
    const cpm::ResizeMerge& params = stack.params;
    std::vector<float> merged(params.images * params.maps * params.height * params.width, kNan);
    cpm::resize_merge_cpu(stack.maps.data(), stack.frames.data(), merged.data(), params, threads);
    return merged;
}

bool near(const std::vector<float>& values, const std::vector<double>& wanted) {
    for (size_t i = 0; i < wanted.size(); ++i) {
        if (!(std::abs(values[i] - wanted[i]) <= kTolerance)) return false;
    }
    return values.size() == wanted.size();
}

void test_matches_plain_loop() {
    cpm_test::Generator generator(1);
    for (const auto& params : cpm_test::kResizeCases) {
        for (const bool wild : {false, true}) {
            for (int trial = 0; trial < 5; ++trial) {
                const auto stack = cpm_test::random_stack(generator, params, wild, true);
                const auto wanted = cpm_test::plain_resize_merge(stack.maps, stack.frames, params);
                for (const int threads : {1, 2, 7}) CHECK(near(run(stack, threads), wanted));
                CHECK(run(stack, 1) == run(stack, 4));
            }
        }
    }
}

void test_outside() {
    // Output pixel x is cell x - 3 of a map of 5 x 5 fives.
    const cpm_test::Stack stack{{1, 1, 2, 5, 5, 11, 11, 1}, std::vector<float>(50, 5.0f), {1.0, 1.0, -3.0, -3.0}};
    const auto merged = run(stack, 1);
    for (int64_t i = 0; i < 121; ++i) {
        const bool inside = i / 11 >= 3 && i / 11 < 8 && i % 11 >= 3 && i % 11 < 8;
        CHECK(merged[i] == (inside ? 5.0f : 0.0f) && merged[121 + i] == (inside ? 5.0f : 1.0f));
    }
}

// A NaN cell reaches the pixels whose four by four cells include it, and no others.
void test_nan_stays_local() {
    cpm_test::Stack stack{{1, 1, 1, 9, 9, 9, 9, 1}, std::vector<float>(81, 1.0f), {1.0, 1.0, 0.0, 0.0}};
    stack.maps[4 * 9 + 4] = kNan;
    const auto merged = run(stack, 1);
    for (int64_t i = 0; i < 81; ++i) {
        // Pixel x sees cells x - 1 to x + 2.
        const bool reached = i / 9 >= 2 && i / 9 <= 5 && i % 9 >= 2 && i % 9 <= 5;
        CHECK(std::isnan(merged[i]) == reached);
    }
}

void test_sizes() {
    // Null pointers: no memory may be accessed.
    for (const cpm::ResizeMerge& params :
         {cpm::ResizeMerge{0, 1, 2, 4, 4, 8, 8, 1}, cpm::ResizeMerge{1, 1, 0, 4, 4, 8, 8, 1},
          cpm::ResizeMerge{1, 1, 2, 4, 4, 0, 8, 1}, cpm::ResizeMerge{1, 1, 2, 4, 4, 8, 0, 1}}) {
        cpm::resize_merge_cpu(nullptr, nullptr, nullptr, params, 2);
    }
    const int64_t large = int64_t{1} << 29;
    for (const cpm::ResizeMerge& params :
         {cpm::ResizeMerge{1, 0, 2, 4, 4, 8, 8, 1}, cpm::ResizeMerge{1, 1, 2, 0, 4, 8, 8, 1},
          cpm::ResizeMerge{1, 1, 2, 4, -1, 8, 8, 1}, cpm::ResizeMerge{3, 1, 2, 4, 4, 8, 8, 2},
          cpm::ResizeMerge{large, 1, 2, 4, 4, large, large, 1}, cpm::ResizeMerge{1, 1, 2, 4, 2 * large + 1, 8, 8, 1}}) {
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::resize_merge_cpu(nullptr, nullptr, nullptr, params, 2); }));
    }
    const double infinite = std::numeric_limits<double>::infinity();
    for (const double bad : {infinite, -infinite, std::nan("")}) {
        const cpm_test::Stack stack{{1, 1, 2, 4, 4, 8, 8, 1}, std::vector<float>(32), {0.5, bad, 0.0, 0.0}};
        CHECK(cpm_test::throws<std::invalid_argument>([&] { run(stack, 1); }));
    }
    // Finite, but far beyond any map: all pixels lie outside.
    for (const double far : {1e300, -1e300, 1.7e308}) {
        const cpm_test::Stack stack{{1, 1, 2, 4, 4, 8, 8, 1}, std::vector<float>(32, 3.0f), {far, 1.0, far, 0.0}};
        const auto merged = run(stack, 1);
        CHECK(merged[0] == 0.0f && merged[63] == 0.0f && merged[64] == 1.0f && merged[127] == 1.0f);
    }
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_outside();
    test_nan_stays_local();
    test_sizes();
    return cpm_test::finish();
}

// direct_conv against plain loops in double, on every instruction set, and sizes that are refused or skipped.

#include "cpm/direct_conv.h"

#include <stdexcept>

#include "check.h"
#include "plain_conv.h"

namespace {

using Floats = std::vector<float>;

void test_matches_plain_loop() {
    std::mt19937 generator(5);
    cpm_test::for_each_simd([&] {
        for (const cpm::DirectConv& params :
             {cpm::DirectConv{1, 9, 13, 3, 16, 3}, {2, 5, 7, 17, 33, 1}, {1, 12, 24, 20, 96, 3, 23, 100},
              {1, 6, 3, 5, 15, 5, 5, 48}, {1, 1, 1, 2, 3, 15}, {3, 30, 11, 4, 50, 1, 4, 64}, {0, 9, 9, 3, 4, 5},
              {1, 0, 9, 3, 4, 5}, {1, 9, 9, 0, 4, 3}, {1, 9, 9, 3, 0, 5}, {2, 14, 10, 3, 16, 3, 0, 0, 2},
              {1, 22, 18, 6, 40, 3, 8, 41, 3}, {2, 10, 16, 7, 20, 5, 0, 0, 3, 1}, {1, 2, 2, 1, 1, 9, 0, 0, 3},
              {1, 8, 26, 4, 32, 1, 0, 0, 2}}) {
            for (const int threads : {-1, 1, 2, 5}) {
                cpm::DirectConv each = params;
                for (const bool bf16 : {false, true}) {
                    each.bf16 = bf16;
                    cpm_test::check_direct(generator, each, threads);
                }
            }
        }
    });
}

// 1x1, one channel in and out, weight 1: the result is x, rounded. Ties go to even; NaN and infinity stay.
void test_rounds_to_bfloat16() {
    const float infinite = std::numeric_limits<float>::infinity();
    const Floats x{0.0f,      1.0f,       1.00390625f, 1.01171875f, -1.0039064f, 1.0039062f, 3.4e38f, infinite,
                   -infinite, 65280.125f, 1e-39f,      -3.0f,       0.1f,        0.2f,       7.7e-5f, cpm_test::kNan};
    const Floats wanted{0.0f,      1.0f,     1.0f,       1.015625f, -1.0078125f,  1.0f,         infinite,        infinite,
                        -infinite, 65280.0f, 1.010e-39f, -3.0f,     0.100097656f, 0.200195312f, 7.677078247e-5f, 0.0f};
    const Floats weight{1.0f}, bias{0.0f};
    const cpm::DirectConv params{1, 1, 16, 1, 1, 1, 0, 0, 0, 0, true};
    Floats packed(16), out(16), workspace(cpm::direct_workspace(params, 1));
    cpm::pack_weight_cpu(weight.data(), packed.data(), 1, 1, 1, true, 1);
    cpm_test::for_each_simd([&] {
        cpm::direct_conv_cpu(x.data(), packed.data(), bias.data(), out.data(), params, false, workspace.data(), 1);
        // Products of pairs count the smallest numbers as 0.
        for (int i = 0; i < 15; ++i) CHECK(out[i] == wanted[i] || std::abs(out[i] - wanted[i]) < 1.1e-38f);
        CHECK(std::isnan(out[15]));
    });
}

void test_sizes() {
    const int64_t huge = int64_t{1} << 40;
    for (const cpm::DirectConv& params :
         {cpm::DirectConv{1, 8, 8, 3, 4, 4}, {1, 8, 8, 3, 4, 17}, {-1, 8, 8, 3, 4, 5}, {1, huge, huge, 3, 4, 5},
          {1, 8, 8, 3, 4, 5, 2}, {1, 8, 8, 3, 4, 5, 0, 0, 4}, {1, 7, 8, 3, 4, 5, 0, 0, 2}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::direct_workspace(params, 1); }));
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::direct_conv_cpu(nullptr, nullptr, nullptr, nullptr, params, true, nullptr, 1); }));
    }
    CHECK(cpm_test::throws<std::invalid_argument>([] { cpm::pack_weight_cpu(nullptr, nullptr, -5, -5, 5, false, 1); }));
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_rounds_to_bfloat16();
    test_sizes();
    return cpm_test::finish();
}

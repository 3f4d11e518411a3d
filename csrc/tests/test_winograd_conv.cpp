// winograd_conv against plain loops in double, on every instruction set, images that it leaves, and sizes that are refused.

#include "cpm/winograd_conv.h"

#include <stdexcept>

#include "check.h"
#include "plain_conv.h"

namespace {

using Floats = std::vector<float>;

void test_matches_plain_loop() {
    std::mt19937 generator(5);
    cpm_test::for_each_simd([&] {
        for (const cpm::DirectConv& params :
             {cpm::DirectConv{1, 8, 8, 16, 16, 3}, {2, 5, 7, 17, 33, 3}, {1, 12, 24, 20, 96, 3, 23, 100},
              {1, 1, 1, 1, 1, 3}, {3, 30, 11, 4, 50, 3, 4, 64}, {0, 9, 9, 3, 4, 3}, {1, 0, 9, 3, 4, 3},
              {1, 9, 9, 0, 4, 3}, {1, 9, 9, 3, 0, 3}, {2, 14, 10, 3, 16, 3, 0, 0, 2}, {1, 22, 18, 6, 40, 3, 8, 41, 2},
              {1, 2, 2, 1, 1, 3, 0, 0, 2}, {1, 64, 96, 40, 40, 3}}) {
            for (const int threads : {-1, 1, 2, 5}) {
                cpm::DirectConv each = params;
                for (const bool bf16 : {false, true}) {
                    each.bf16 = bf16;
                    cpm_test::check_winograd(generator, each, threads);
                }
            }
        }
    });
}

// The second of four images has an infinite value, the third values far apart, and the fourth sums that overflow.
void test_leaves_images() {
    std::mt19937 generator(6);
    cpm::DirectConv params{4, 10, 12, 5, 20, 3};
    cpm_test::Conv conv = cpm_test::random_direct(generator, params);
    const size_t image = conv.x.size() / 4;
    conv.x[image + 33] = std::numeric_limits<float>::infinity();
    conv.x[2 * image + 33] = 1e6f;
    std::fill(conv.x.begin() + static_cast<int64_t>(3 * image), conv.x.end(), 1e38f);
    for (const bool bf16 : {false, true}) {
        params.bf16 = bf16;
        Floats transformed(cpm_test::packed_floats(params, cpm::kWinogradProducts));
        cpm::winograd_weight_cpu(conv.weight.data(), transformed.data(), 20, 5, false, bf16, 2);
        cpm_test::for_each_simd([&] {
            for (const int threads : {1, 3}) {
                Floats workspace(cpm::winograd_workspace(params, threads)), out(4 * 10 * 12 * 20);
                const auto left = cpm::winograd_conv_cpu(conv.x.data(), transformed.data(), conv.bias.data(), out.data(),
                                                         params, true, workspace.data(), threads);
                CHECK((left == std::vector<int64_t>{1, 2, 3}));
            }
        });
    }
}

void test_sizes() {
    const int64_t huge = int64_t{1} << 40;
    for (const cpm::DirectConv& params :
         {cpm::DirectConv{1, 8, 8, 3, 4, 5}, {1, 8, 8, 3, 4, 1}, {-1, 8, 8, 3, 4, 3}, {1, huge, huge, 3, 4, 3},
          {1, 8, 8, 3, 4, 3, 2}, {1, 8, 8, 3, 4, 3, 0, 0, 3}, {1, 7, 8, 3, 4, 3, 0, 0, 2}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::winograd_workspace(params, 1); }));
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::winograd_conv_cpu(nullptr, nullptr, nullptr, nullptr, params, true, nullptr, 1); }));
    }
    CHECK(cpm_test::throws<std::invalid_argument>([] { cpm::winograd_weight_cpu(nullptr, nullptr, -5, -5, false, false, 1); }));
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_leaves_images();
    test_sizes();
    return cpm_test::finish();
}

// The transforms of every tile and instruction set against plain sums in double, the convolution and its gradients
// against plain loops, and the sizes that are refused or passed over.

#include "cpm/spectral_conv.h"

#include <cmath>
#include <functional>
#include <sstream>
#include <stdexcept>

#include "check.h"
#include "../cpu/spectral/kernels.h"
#include "plain_conv.h"

namespace {

using cpm::spectral::kComplex;

constexpr int64_t kBudget = 1 << 20;

void for_each_simd(const std::function<void()>& action) {
    std::istringstream names(cpm::simd_choices());
    for (std::string name; names >> name;) {
        cpm::use_simd(name);
        CHECK(cpm::simd() == name);
        action();
    }
}

// Worst error of a DFT of `tile` complex numbers of about 1, relative to the root of the sum of their squares.
double dft_error(int tile, bool inverse, std::mt19937& generator) {
    const cpm::spectral::Kernels& run = cpm::spectral::kernels();
    const int64_t step = kComplex + 16, out_step = kComplex;
    const auto z = cpm_test::random_floats(generator, tile * step);
    std::vector<float> out(tile * out_step, cpm_test::kNan);
    const int re = inverse ? 16 : 0, im = 16 - re;
    run.dft(tile)(z.data() + re, z.data() + im, step, out.data() + re, out.data() + im, out_step);
    double worst = 0.0;
    for (int k = 0; k < tile; ++k) {
        for (int lane = 0; lane < run.lanes; ++lane) {
            std::complex<double> sum = 0.0;
            for (int n = 0; n < tile; ++n) {
                const double angle = (inverse ? 2 : -2) * cpm_test::kPi * (n * k % tile) / tile;
                sum += std::complex<double>(z[n * step + lane], z[n * step + 16 + lane]) * std::polar(1.0, angle);
            }
            const std::complex<double> found(out[k * out_step + lane], out[k * out_step + 16 + lane]);
            worst = std::max(worst, std::abs(found - sum) / std::sqrt(2.0 * tile));
        }
    }
    return worst;
}

void test_transforms() {
    std::mt19937 generator(1);
    for_each_simd([&] {
        for (const int* tile = cpm::spectral_tiles(); *tile != 0; ++tile) {
            CHECK(dft_error(*tile, false, generator) < 2e-6);
            CHECK(dft_error(*tile, true, generator) < 2e-6);
        }
        CHECK(cpm::spectral::kernels().dft(18) == nullptr);
    });
}

void test_matches_plain_loop() {
    std::mt19937 generator(2);
    const cpm::SpectralConv cases[] = {{1, 30, 21, 20, 18, 9, 20}, {2, 7, 5, 3, 16, 5, 16},  {1, 25, 24, 16, 5, 11, 32},
                                       {2, 1, 1, 2, 3, 15, 22},    {1, 40, 9, 1, 33, 3, 24}, {0, 9, 9, 3, 4, 5, 16},
                                       {1, 0, 9, 3, 4, 5, 16},     {1, 9, 9, 0, 4, 5, 16},   {1, 9, 9, 3, 0, 5, 16}};
    for_each_simd([&] {
        for (const cpm::SpectralConv& params : cases) {
            for (const int threads : {-1, 1, 2, 5}) {
                cpm_test::check_forward(cpm_test::random_conv(generator, params), kBudget, threads);
                cpm_test::check_gradients(cpm_test::random_conv(generator, params), kBudget, threads);
            }
        }
    });
}

void test_sizes() {
    const int64_t huge = int64_t{1} << 40;
    for (const cpm::SpectralConv& params :
         {cpm::SpectralConv{1, 8, 8, 3, 4, 4, 16}, cpm::SpectralConv{1, 8, 8, 3, 4, 17, 32},
          cpm::SpectralConv{1, 8, 8, 3, 4, -1, 32}, cpm::SpectralConv{1, 8, 8, 3, 4, 5, 18},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 0}, cpm::SpectralConv{-1, 8, 8, 3, 4, 5, 16},
          cpm::SpectralConv{1, huge, huge, 3, 4, 5, 16}, cpm::SpectralConv{1, 8, 8, huge, huge, 5, 16}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::spectral_workspace(params, kBudget, 1); }));
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::spectral_gradient_workspace(params, kBudget, 1); }));
        CHECK(cpm_test::throws<std::invalid_argument>([&] {
            cpm::spectral_conv_cpu(nullptr, nullptr, nullptr, nullptr, nullptr, params, true, nullptr, kBudget, 1);
        }));
    }
    CHECK(cpm_test::throws<std::invalid_argument>(
        [] { cpm::transform_weight_cpu(nullptr, nullptr, 1, 1, 5, 17, false, 1); }));
    CHECK(cpm_test::throws<std::invalid_argument>(
        [] { cpm::transform_weight_cpu(nullptr, nullptr, -5, -5, 5, 16, false, 1); }));
    CHECK(cpm_test::throws<std::invalid_argument>([] { cpm::use_simd("mmx"); }));
    // A budget is kept where one row of tiles fits into it.
    const cpm::SpectralConv params{4, 300, 40, 16, 16, 9, 32};
    CHECK(cpm::spectral_workspace(params, 8 << 20, 1) * 4 <= 8 << 20);
    CHECK(cpm::spectral_workspace(params, 0, 1) > 0);
}

}  // namespace

int main() {
    test_transforms();
    test_matches_plain_loop();
    test_sizes();
    return cpm_test::finish();
}

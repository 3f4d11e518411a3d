// The transforms of every tile and instruction set against plain sums in double, the convolution and its gradients
// against plain loops, and sizes that are refused or skipped.

#include "cpm/spectral_conv.h"

#include <cmath>
#include <cstring>
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
                                       {1, 0, 9, 3, 4, 5, 16},     {1, 9, 9, 0, 4, 5, 16},   {1, 9, 9, 3, 0, 5, 16},
                                       // Two members share a unit whose tiles stand in two columns, or in three.
                                       {1, 40, 30, 20, 18, 5, 22}, {1, 30, 40, 16, 12, 5, 22}};
    for_each_simd([&] {
        for (const cpm::SpectralConv& params : cases) {
            for (const int threads : {-1, 1, 2, 5}) {
                cpm_test::check_forward(cpm_test::random_conv(generator, params), kBudget, threads);
                cpm_test::check_gradients(cpm_test::random_conv(generator, params), kBudget, threads);
            }
        }
    });
}

// Spectra of bfloat16 give the bits of the same numbers as floats; with products of pairs, maps are rounded too, and any
// number of threads gives the same bits.
void test_bfloat16_spectra() {
    std::mt19937 generator(6);
    for_each_simd([&] {
        for (const cpm::SpectralConv& params :
             {cpm::SpectralConv{1, 30, 21, 20, 18, 9, 20}, {2, 7, 5, 3, 16, 5, 16}, {1, 25, 24, 16, 50, 11, 54},
              {1, 40, 9, 1, 33, 3, 24}, {1, 34, 50, 3, 18, 7, 22, 3, 18, 2}, {3, 17, 9, 47, 5, 3, 64},
              {1, 46, 46, 33, 40, 5, 16}, {1, 40, 30, 20, 18, 5, 22}, {1, 30, 40, 16, 12, 5, 22},
              {0, 9, 9, 3, 4, 5, 16}, {1, 9, 9, 3, 0, 5, 16}}) {
            const auto conv = cpm_test::random_conv(generator, params);
            auto spectra = cpm_test::spectra_of(conv, false, 1);
            const auto halves = cpm_test::halves_of(spectra);
            for (float& value : spectra) value = cpm_test::nearest_bfloat16(value);
            const auto run = [&](const void* weights, bool bf16, int threads) {
                cpm::SpectralConv each = params;
                each.bf16 = bf16;
                std::vector<float> workspace(cpm::spectral_workspace(each, kBudget, threads), cpm_test::kNan);
                std::vector<float> out(conv.gradient.size() / (params.pool ? 4 : 1), cpm_test::kNan);
                CHECK(cpm::spectral_conv_cpu(conv.x.data(), nullptr, weights, conv.bias.data(), out.data(), each, true,
                                             workspace.data(), kBudget, threads)
                          .empty());
                return out;
            };
            const bool pairs = cpm::spectral::kernels().left_floats[1] == cpm::spectral::kPairs;
            CHECK(pairs == (cpm::simd() == "avx512_bf16"));
            const auto found = run(halves.data(), true, 1);
            for (const int threads : {2, 3, 5}) CHECK(run(halves.data(), true, threads) == found);
            if (pairs) {
                CHECK(cpm_test::close(found, cpm_test::plain_forward(conv), 0.0, cpm_test::kPairTolerance));
            } else {
                for (const int threads : {1, 3}) CHECK(run(spectra.data(), false, threads) == found);
            }
        }
    });
}

// Windows that cross tiles, chunks, bands and blocks, between the channels of wider maps.
void test_pools_and_pitches() {
    std::mt19937 generator(3);
    for_each_simd([&] {
        for (const auto& [pool, padding] : {std::pair{2, 0}, {3, 0}, {3, 1}}) {
            for (const cpm::SpectralConv& params :
                 {cpm::SpectralConv{1, 34, 50, 3, 18, 9, 24, 3, 18, pool, padding},
                  cpm::SpectralConv{2, 28, 18, 17, 20, 5, 16, 20, 50, pool, padding},
                  cpm::SpectralConv{1, 2, 2, 1, 1, 9, 16, 0, 0, pool, padding},
                  cpm::SpectralConv{1, 60, 12, 2, 16, 3, 16, 2, 16, pool, padding},
                  cpm::SpectralConv{3, 26, 14, 4, 5, 11, 32, 4, 9, pool, padding}}) {
                for (const int threads : {1, 2, 5}) {
                    const auto conv = cpm_test::random_conv(generator, params);
                    for (const int64_t budget : {int64_t{0}, int64_t{1} << 17, kBudget}) {
                        cpm_test::check_forward(conv, budget, threads);
                    }
                }
            }
        }
        cpm_test::check_forward(cpm_test::random_conv(generator, {1, 21, 13, 5, 18, 5, 16, 9, 31}), kBudget, 2);
    });
}

// Bits do not depend on threads, and NaN spreads as in PyTorch's maximum.
void test_pool_is_exact() {
    std::mt19937 generator(4);
    const cpm::SpectralConv plain{1, 44, 30, 3, 16, 5, 16};
    cpm::SpectralConv params = plain;
    params.pool = 3;
    auto conv = cpm_test::random_conv(generator, plain);
    conv.x[3 * 500] = cpm_test::kNan;
    const auto spectra = cpm_test::spectra_of(conv, false, 1);
    const auto run = [&](const cpm::SpectralConv& each, int64_t budget, int threads) {
        std::vector<float> workspace(cpm::spectral_workspace(each, budget, threads));
        std::vector<float> out(each.height * each.width * 16 / (each.pool ? 4 : 1), 7.0f);
        cpm::spectral_conv_cpu(conv.x.data(), nullptr, spectra.data(), conv.bias.data(), out.data(), each, false,
                               workspace.data(), budget, threads);
        return out;
    };
    for_each_simd([&] {
        const auto maps = run(plain, kBudget, 1);
        for (const int64_t budget : {int64_t{0}, kBudget}) {
            for (const int threads : {1, 2, 7}) {
                const auto out = run(params, budget, threads);
                int64_t wrong = 0;
                for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
                    const int64_t lane = i % 16, column = i / 16 % 15, row = i / 16 / 15;
                    float most = -std::numeric_limits<float>::infinity();
                    for (int64_t y = 2 * row; y < std::min<int64_t>(2 * row + 3, 44); ++y) {
                        for (int64_t x = 2 * column; x < std::min<int64_t>(2 * column + 3, 30); ++x) {
                            const float value = maps[(y * 30 + x) * 16 + lane];
                            if (value > most || std::isnan(value)) most = value;
                        }
                    }
                    wrong += !(out[i] == most || (std::isnan(out[i]) && std::isnan(most)));
                }
                CHECK(wrong == 0);
            }
        }
    });
}

// The places of maxima against those in the whole output, and gradients of windows against those of the whole map.
void test_places() {
    std::mt19937 generator(5);
    for_each_simd([&] {
        for (const auto& [pool, padding] : {std::pair{2, 0}, {3, 0}, {3, 1}}) {
            for (const cpm::SpectralConv& plain :
                 {cpm::SpectralConv{1, 34, 50, 3, 18, 9, 24}, cpm::SpectralConv{2, 28, 18, 17, 20, 5, 16},
                  cpm::SpectralConv{1, 2, 2, 1, 1, 9, 16}, cpm::SpectralConv{3, 26, 14, 4, 16, 11, 32}}) {
                auto conv = cpm_test::random_conv(generator, plain);
                for (const int threads : {1, 3}) {
                    for (const int64_t budget : {int64_t{0}, kBudget}) {
                        cpm_test::check_places(conv, pool, padding, budget, threads);
                    }
                }
            }
        }
    });
    cpm::SpectralConv params{1, 8, 8, 3, 4, 5, 16};
    unsigned char place = 0;
    const auto run = [&](const cpm::Gate& gate, bool relu) {
        cpm::spectral_conv_cpu(nullptr, gate, nullptr, nullptr, nullptr, params, relu, nullptr, kBudget, 1, &place);
    };
    CHECK(cpm_test::throws<std::invalid_argument>([&] { run({}, true); }));
    params.pool = 2;
    CHECK(cpm_test::throws<std::invalid_argument>([&] { run({}, false); }));
    params.out_pitch = 5;
    CHECK(cpm_test::throws<std::invalid_argument>([&] { run({}, true); }));
    for (const cpm::Gate& gate : {cpm::Gate{&place, 4, 0}, cpm::Gate{&place, 2, 1}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] {
            cpm::spectral_weight_gradient_cpu(nullptr, gate, nullptr, nullptr, nullptr, params, nullptr, kBudget, 1);
        }));
    }
}

// Chunks, over which the gradient's sums run, depend on the budget and not on threads.
void test_gradient_bits() {
    std::mt19937 generator(6);
    const cpm::SpectralConv params{2, 90, 50, 3, 40, 9, 24};
    const auto conv = cpm_test::random_conv(generator, params);
    int64_t wrong = 0;
    std::vector<float> last;
    int64_t others = 0;
    for (int64_t budget = 1 << 16; budget < int64_t{4} << 20; budget += budget / 5) {
        std::vector<float> first;
        for (const int threads : {1, 2, 7}) {
            std::vector<float> workspace(cpm::spectral_gradient_workspace(params, budget, threads), cpm_test::kNan);
            std::vector<float> found(conv.weight.size(), cpm_test::kNan), bias(conv.bias.size());
            cpm::spectral_weight_gradient_cpu(conv.gradient.data(), {}, conv.x.data(), found.data(), bias.data(), params,
                                              workspace.data(), budget, threads);
            if (threads == 1) first = found;
            wrong += found != first;
        }
        others += first != last;
        last = first;
    }
    CHECK(wrong == 0);
    // The budgets make several splits.
    CHECK(others > 3);
}

void test_sizes() {
    const int64_t huge = int64_t{1} << 40;
    for (const cpm::SpectralConv& params :
         {cpm::SpectralConv{1, 8, 8, 3, 4, 4, 16}, cpm::SpectralConv{1, 8, 8, 3, 4, 17, 32},
          cpm::SpectralConv{1, 8, 8, 3, 4, -1, 32}, cpm::SpectralConv{1, 8, 8, 3, 4, 5, 18},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 0}, cpm::SpectralConv{-1, 8, 8, 3, 4, 5, 16},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 16, 2},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 16, 0, 3},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 16, huge << 20, 0},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 16, 0, 0, 4, 0},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 16, 0, 0, 2, 1},
          cpm::SpectralConv{1, 8, 8, 3, 4, 5, 16, 0, 0, 0, 1},
          cpm::SpectralConv{1, 7, 8, 3, 4, 5, 16, 0, 0, 2, 0},
          cpm::SpectralConv{1, 8, 9, 3, 4, 5, 16, 0, 0, 3, 1},
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
    // The budget is kept if one row of tiles fits into it.
    const cpm::SpectralConv params{4, 300, 40, 16, 16, 9, 32};
    CHECK(cpm::spectral_workspace(params, 8 << 20, 1) * 4 <= 8 << 20);
    CHECK(cpm::spectral_workspace(params, 0, 1) > 0);
}

}  // namespace

int main() {
    test_transforms();
    test_matches_plain_loop();
    test_bfloat16_spectra();
    test_pools_and_pitches();
    test_pool_is_exact();
    test_places();
    test_gradient_bits();
    test_sizes();
    return cpm_test::finish();
}

// Runs one op on random sizes, frames, positions and cells, including NaN and infinities, against plain loops in
// double: fuzz_ops <op>. It is meant for a build with sanitizers (the preset `sanitize` runs it by ctest).
// CPM_FAST_FUZZ_SECONDS sets its duration, CPM_FAST_FUZZ_SEED repeats a run.

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "check.h"
#include "cpm/batch_norm.h"
#include "cpm/conv_norm_pool.h"
#include "cpm/gaussian_math.h"
#include "cpm/gaussian_targets.h"
#include "cpm/many_peaks.h"
#include "cpm/merge_peaks.h"
#include "cpm/peaks.h"
#include "plain_conv.h"
#include "plain_resize.h"
#include "random_stack.h"

namespace {

using cpm_test::between;
using cpm_test::Generator;
using cpm_test::real;

using cpm_test::kNan;
using Floats = std::vector<float>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Cells of at most 2, through float weights whose magnitudes sum to 1.56.
constexpr double kTolerance = 3e-6;
// Beyond this, float may overflow where double does not; such stacks run without a comparison.
constexpr float kComparable = 1e30f;

double odd_number(Generator& generator) {
    const double odd[] = {0.0, -0.0, 0.5, -0.5, 1e-300, 1e9, -1e18, 1e300, -1.7e308, kInfinity, -kInfinity, NAN};
    return odd[between(generator, 0, 11)];
}

cpm_test::Stack odd_stack(Generator& generator) {
    const auto side = [&] { return between(generator, 1, 12) == 1 ? 1 : between(generator, 1, 40); };
    cpm::ResizeMerge params{between(generator, 0, 3), between(generator, 1, 4), between(generator, 1, 3),
                            side(), side(), side(), side(), 1};
    if (between(generator, 0, 1)) params.frame_sets = params.images;
    auto stack = cpm_test::random_stack(generator, params, between(generator, 0, 1), between(generator, 0, 1));
    for (double& number : stack.frames) {
        if (between(generator, 0, 19) == 0) number = odd_number(generator);
    }
    return stack;
}

bool finite(const std::vector<double>& numbers) {
    return std::all_of(numbers.begin(), numbers.end(), [](double number) { return std::isfinite(number); });
}

bool comparable(const cpm_test::Stack& stack) {
    return std::none_of(stack.maps.begin(), stack.maps.end(),
                        [](float cell) { return std::isfinite(cell) && std::abs(cell) > kComparable; });
}

bool agrees(float value, double wanted) {
    return std::isfinite(wanted) ? std::abs(value - wanted) <= kTolerance : !std::isfinite(value);
}

// Refuses frames that are not finite; returns whether it ran.
template <typename Action>
bool runs(const cpm_test::Stack& stack, Action action) {
    if (finite(stack.frames)) {
        action();
        return true;
    }
    const cpm::ResizeMerge& params = stack.params;
    const bool refused = cpm_test::throws<std::invalid_argument>(action);
    CHECK(refused || params.images == 0 || params.maps == 1);
    return false;
}

void fuzz_resize_merge(Generator& generator) {
    const auto stack = odd_stack(generator);
    const cpm::ResizeMerge& params = stack.params;
    std::vector<float> merged(params.images * params.maps * params.height * params.width, kNan);
    const int threads = static_cast<int>(between(generator, -1, 3));
    if (!runs(stack, [&] {
            cpm::resize_merge_cpu(stack.maps.data(), stack.frames.data(), merged.data(), params, threads);
        })) return;
    if (!comparable(stack)) return;
    const auto wanted = cpm_test::plain_resize_merge(stack.maps, stack.frames, params);
    for (size_t i = 0; i < wanted.size(); ++i) CHECK(agrees(merged[i], wanted[i]));
}

void fuzz_merge_peaks(Generator& generator) {
    const auto stack = odd_stack(generator);
    const cpm::ResizeMerge& params = stack.params;
    const int64_t parts = params.maps - 1, pixels = params.height * params.width;
    std::vector<float> points(2 * params.images * parts, -7.0f), scores(params.images * parts, -7.0f);
    const bool refine = between(generator, 0, 1);
    const int threads = static_cast<int>(between(generator, -1, 3));
    if (!runs(stack, [&] {
            cpm::merge_peaks_cpu(stack.maps.data(), stack.frames.data(), points.data(), scores.data(), params, refine,
                                 threads);
        })) return;
    if (!comparable(stack)) return;
    const auto merged = cpm_test::plain_resize_merge(stack.maps, stack.frames, params);
    for (int64_t task = 0; task < params.images * parts; ++task) {
        const double* map = merged.data() + (task / parts * params.maps + task % parts) * pixels;
        // Infinities that meet weights near 0 may give another kind of value in float than in double.
        if (!std::all_of(map, map + pixels, [](double value) { return std::isfinite(value); })) continue;
        const int64_t best = cpm_test::plain_peak(map, pixels);
        const float x = points[2 * task], y = points[2 * task + 1];
        CHECK(x >= 0 && y >= 0 && x < params.width && y < params.height && agrees(scores[task], map[best]));
        if (!refine) CHECK(map[static_cast<int64_t>(y) * params.width + static_cast<int64_t>(x)] >= map[best] - kTolerance);
    }
}

void fuzz_peaks(Generator& generator) {
    // Sometimes the map has many chunks and several pieces (csrc/cpu/peaks.cpp).
    const int64_t most = between(generator, 0, 19) ? 30 : 300, maps = between(generator, 0, 4);
    const int64_t height = between(generator, 1, most), width = between(generator, 1, most);
    std::vector<float> values;
    for (int64_t m = 0; m < maps; ++m) cpm_test::append_map(generator, height, width, values);
    for (float& value : values) {
        if (between(generator, 0, 30) == 0) value = between(generator, 0, 1) ? kNan : std::ldexp(value, 200);
    }
    std::vector<float> points(2 * maps, -7.0f), scores(maps, -7.0f);
    cpm::peaks_cpu(values.data(), points.data(), scores.data(), {maps, height, width, false},
                   static_cast<int>(between(generator, -1, 3)));
    for (int64_t m = 0; m < maps; ++m) {
        const int64_t best = cpm_test::plain_peak(values.data() + m * height * width, height * width);
        if (best < 0) {
            CHECK(std::isnan(points[2 * m]) && std::isnan(scores[m]));
        } else {
            CHECK(points[2 * m] == best % width && points[2 * m + 1] == best / width);
            CHECK(scores[m] == values[m * height * width + best]);
        }
    }
    cpm::peaks_cpu(values.data(), points.data(), scores.data(), {maps, height, width, true}, 1);
}

void fuzz_many_peaks(Generator& generator) {
    const cpm::ManyPeaks params{between(generator, 0, 4), between(generator, 1, 40), between(generator, 1, 40),
                                static_cast<float>(between(generator, -2, 2)) / 4, between(generator, 1, 50)};
    std::vector<float> values;
    for (int64_t m = 0; m < params.maps; ++m) cpm_test::append_map(generator, params.height, params.width, values);
    for (float& value : values) {
        if (between(generator, 0, 30) == 0) value = between(generator, 0, 1) ? kNan : std::ldexp(value, 200);
    }
    const int64_t most = cpm::most_peaks(params), cells = params.height * params.width;
    std::vector<float> points(2 * params.maps * most, -7.0f), scores(params.maps * most, -7.0f);
    cpm::many_peaks_cpu(values.data(), points.data(), scores.data(), params, static_cast<int>(between(generator, -1, 3)));
    for (int64_t m = 0; m < params.maps; ++m) {
        // The highest peak is the highest cell.
        const int64_t best = cpm_test::plain_peak(values.data() + m * cells, cells);
        const float top = best < 0 ? kNan : values[m * cells + best], score = scores[m * most];
        CHECK(score == (top > params.threshold ? top : -std::numeric_limits<float>::infinity()));
        for (int64_t k = 1; k < most; ++k) {
            CHECK(scores[m * most + k] <= scores[m * most + k - 1]);
        }
    }
}

void fuzz_gaussian_targets(Generator& generator) {
    const cpm::GaussianTargets params{between(generator, 0, 3), between(generator, 0, 3), between(generator, 0, 3),
                                      between(generator, 0, 30), between(generator, 0, 30),
                                      std::exp(real(generator, -6.0, 13.0)), std::exp(real(generator, 0.0, 5.0))};
    std::vector<float> parts;
    std::vector<char> labeled;
    for (int64_t point = 0; point < params.images * params.people * params.parts; ++point) {
        labeled.push_back(static_cast<char>(between(generator, 0, 1)));
        for (int axis = 0; axis < 2; ++axis) {
            const double odd = std::clamp(odd_number(generator), -3e38, 3e38);
            const double usual = real(generator, -0.5, 1.5) * 30 * params.stride;
            parts.push_back(static_cast<float>(between(generator, 0, 9) ? usual : odd));
        }
    }
    const int64_t cells = params.height * params.width;
    std::vector<float> maps(params.images * (params.parts + 1) * cells, kNan);
    cpm::gaussian_targets_cpu(parts.data(), reinterpret_cast<const bool*>(labeled.data()), maps.data(), params,
                              static_cast<int>(between(generator, -1, 3)));
    const cpm::Gaussian gaussian = cpm::make_gaussian(params.sigma, params.stride);
    for (int64_t n = 0; n < params.images; ++n) {
        for (int64_t cell = 0; cell < cells; ++cell) {
            double most = 0.0;
            for (int64_t p = 0; p < params.parts; ++p) {
                double sum = 0.0;
                for (int64_t k = 0; k < params.people; ++k) {
                    const int64_t point = (n * params.people + k) * params.parts + p;
                    const float dx = cpm::squared_offset(gaussian, cell % params.width, parts[2 * point]);
                    const float dy = cpm::squared_offset(gaussian, cell / params.width, parts[2 * point + 1]);
                    if (!labeled[point] || !cpm::is_lit(gaussian, dx, dy)) continue;
                    sum += std::exp(-(static_cast<double>(dx) + dy) / (2 * params.sigma * params.sigma));
                }
                most = std::max(most, std::min(sum, 1.0));
                CHECK(agrees(maps[(n * (params.parts + 1) + p) * cells + cell], std::min(sum, 1.0)));
            }
            CHECK(agrees(maps[(n * (params.parts + 1) + params.parts) * cells + cell], 1.0 - most));
        }
    }
}

void fuzz_spectral_conv(Generator& generator) {
    const int tiles[] = {16, 20, 22, 24, 32, 36, 48, 54, 64};
    const auto often = [&](int64_t share, int64_t usual, int64_t odd) {
        return between(generator, 0, share) ? between(generator, 1, usual) : between(generator, 0, odd);
    };
    const auto side = [&] { return often(11, 40, 1); };
    const auto channels = [&] { return often(3, 4, 40); };
    cpm::SpectralConv params{between(generator, 0, 2), side(), side(), channels(), channels(),
                                   static_cast<int>(2 * between(generator, 0, 4) + 1), tiles[between(generator, 0, 8)]};
    const int64_t budget = int64_t{1} << between(generator, 0, 24);
    const int threads = static_cast<int>(between(generator, -1, 3));
    if (between(generator, 0, 1)) {
        params.x_pitch = params.inputs + between(generator, 0, 3);
        params.out_pitch = params.outputs + between(generator, 0, 20);
        params.pool = static_cast<int>(between(generator, 0, 3));
        if (params.pool == 1 || params.height % 2 || params.width % 2) params.pool = 0;
        params.pool_padding = params.pool == 3 ? static_cast<int>(between(generator, 0, 1)) : 0;
        params.bf16 = between(generator, 0, 1) == 1;
        cpm_test::check_forward(cpm_test::random_conv(generator, params), budget, threads);
    } else {
        const auto conv = cpm_test::random_conv(generator, params);
        cpm_test::check_gradients(conv, budget, threads);
        const int pool = static_cast<int>(between(generator, 2, 3));
        const int padding = pool == 3 ? static_cast<int>(between(generator, 0, 1)) : 0;
        if (params.height % 2 == 0 && params.width % 2 == 0) {
            cpm_test::check_places(conv, pool, padding, budget, threads);
        }
    }
}

void fuzz_direct_conv(Generator& generator) {
    cpm::DirectConv params{between(generator, 0, 2), between(generator, 0, 30), between(generator, 0, 40),
                           between(generator, 0, 24), between(generator, 0, 70),
                           static_cast<int>(2 * between(generator, 0, 3) + 1)};
    params.x_pitch = params.inputs + between(generator, 0, 3);
    params.out_pitch = params.outputs + between(generator, 0, 20);
    params.pool = static_cast<int>(between(generator, 0, 3));
    if (params.pool == 1 || params.height % 2 || params.width % 2) params.pool = 0;
    params.pool_padding = params.pool == 3 ? static_cast<int>(between(generator, 0, 1)) : 0;
    params.bf16 = between(generator, 0, 1) == 1;
    cpm_test::check_direct(generator, params, static_cast<int>(between(generator, -1, 3)));
}

void fuzz_winograd_conv(Generator& generator) {
    cpm::DirectConv params{between(generator, 0, 2), between(generator, 0, 30), between(generator, 0, 40),
                           between(generator, 0, 40), between(generator, 0, 70), 3};
    params.x_pitch = params.inputs + between(generator, 0, 3);
    params.out_pitch = params.outputs + between(generator, 0, 20);
    params.pool = params.height % 2 || params.width % 2 ? 0 : static_cast<int>(2 * between(generator, 0, 1));
    params.bf16 = between(generator, 0, 1) == 1;
    cpm_test::check_winograd(generator, params, static_cast<int>(between(generator, -1, 3)));
}

Floats odd_floats(Generator& generator, int64_t count) {
    Floats values(static_cast<size_t>(count));
    for (float& value : values) {
        const bool odd = between(generator, 0, 999) == 0;
        value = static_cast<float>(odd ? odd_number(generator) : real(generator, -2.0, 2.0));
    }
    return values;
}

// Compares by bits, since NaN is unequal to itself.
bool same_bits(const Floats& one, const Floats& other) {
    const size_t bytes = one.size() * sizeof(float);
    return one.size() == other.size() && (bytes == 0 || std::memcmp(one.data(), other.data(), bytes) == 0);
}

// Any values: no sum may depend on the thread.
void fuzz_conv_norm_pool(Generator& generator) {
    const cpm::ConvNormPool params{between(generator, 1, 3), 2 * between(generator, 1, 5), 2 * between(generator, 1, 80),
                                   between(generator, 1, 5), between(generator, 0, 40), 1e-5,
                                   between(generator, 0, 1) == 1};
    const int64_t cells = params.images * params.height * params.width, outputs = params.outputs;
    const auto x = odd_floats(generator, cells * params.inputs), dy = odd_floats(generator, cells / 4 * outputs);
    const auto weight = odd_floats(generator, 9 * outputs * params.inputs), bias = odd_floats(generator, outputs);
    const auto scale = odd_floats(generator, outputs), shift = odd_floats(generator, outputs);
    Floats results[2];
    for (const int threads : {1, 3}) {
        Floats y(dy.size()), mean(bias.size()), variance(mean), dweight(weight.size()), dscale(mean), dshift(mean);
        std::vector<double> moments(static_cast<size_t>((1 + 9 * params.inputs) * 9 * params.inputs));
        std::vector<unsigned char> places(dy.size());
        cpm::conv_norm_pool_cpu(x.data(), weight.data(), bias.data(), scale.data(), shift.data(), y.data(),
                                places.data(), mean.data(), variance.data(), moments.data(), params, threads);
        cpm::conv_norm_pool_gradient_cpu(dy.data(), places.data(), x.data(), weight.data(), scale.data(),
                                         variance.data(), moments.data(), dweight.data(), dscale.data(), dshift.data(),
                                         params, threads);
        for (const auto* part : {&y, &mean, &variance, &dweight, &dscale, &dshift}) {
            results[threads == 1].insert(results[threads == 1].end(), part->begin(), part->end());
        }
    }
    CHECK(same_bits(results[0], results[1]));
}

// Likewise.
void fuzz_batch_norm(Generator& generator) {
    const int64_t width = between(generator, 0, 1) == 1 ? 2 * between(generator, 1, 80) : 0;
    const int64_t count = width == 0 ? between(generator, 1, 700) : 2 * width * between(generator, 1, 3);
    // The first half of the memory of floats, as bfloat16, holds odd bits too.
    const cpm::BatchNorm params{count, between(generator, 0, 40), 1e-5, between(generator, 0, 1) == 1, width,
                                between(generator, 0, 1) == 1};
    const int64_t cells = params.cells * params.channels;
    const auto x = odd_floats(generator, cells), dy = odd_floats(generator, width == 0 ? cells : cells / 4);
    const auto weight = odd_floats(generator, params.channels), bias = odd_floats(generator, params.channels);
    Floats results[2];
    for (const int threads : {1, 3}) {
        Floats y(dy.size()), mean(weight.size()), variance(mean), dx(x.size()), dweight(mean), dbias(mean);
        cpm::batch_norm_cpu(x.data(), weight.data(), bias.data(), y.data(), mean.data(), variance.data(), params, threads);
        cpm::batch_norm_gradient_cpu(dy.data(), x.data(), weight.data(), bias.data(), mean.data(), variance.data(),
                                     dx.data(), dweight.data(), dbias.data(), params, threads);
        for (const auto* part : {&y, &mean, &variance, &dx, &dweight, &dbias}) {
            results[threads == 1].insert(results[threads == 1].end(), part->begin(), part->end());
        }
    }
    CHECK(same_bits(results[0], results[1]));
}

}  // namespace

int main(int count, char** arguments) {
    const std::string op = count == 2 ? arguments[1] : "";
    void (*fuzz)(Generator&) = op == "resize_merge"       ? fuzz_resize_merge
                               : op == "merge_peaks"      ? fuzz_merge_peaks
                               : op == "peaks"            ? fuzz_peaks
                               : op == "many_peaks"       ? fuzz_many_peaks
                               : op == "gaussian_targets" ? fuzz_gaussian_targets
                               : op == "spectral_conv"    ? fuzz_spectral_conv
                               : op == "direct_conv"      ? fuzz_direct_conv
                               : op == "winograd_conv"    ? fuzz_winograd_conv
                               : op == "batch_norm"       ? fuzz_batch_norm
                               : op == "conv_norm_pool"   ? fuzz_conv_norm_pool
                                                          : nullptr;
    if (fuzz == nullptr) {
        std::fprintf(stderr, "usage: fuzz_ops gaussian_targets|resize_merge|peaks|many_peaks|merge_peaks|"
                             "spectral_conv|direct_conv|winograd_conv|batch_norm|conv_norm_pool\n");
        return 2;
    }
    const char* seconds = std::getenv("CPM_FAST_FUZZ_SECONDS");
    const char* given = std::getenv("CPM_FAST_FUZZ_SEED");
    const auto seed = static_cast<unsigned>(given ? std::atoll(given) : std::random_device{}());
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds ? std::atof(seconds) : 3.0);
    Generator generator(seed);
    int64_t inputs = 0;
    for (; std::chrono::steady_clock::now() < end && cpm_test::failures() == 0; ++inputs) fuzz(generator);
    std::printf("%s: %lld inputs, CPM_FAST_FUZZ_SEED=%u\n", op.c_str(), static_cast<long long>(inputs), seed);
    return inputs == 0 ? 1 : cpm_test::finish();
}

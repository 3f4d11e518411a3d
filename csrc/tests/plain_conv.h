// Random convolutions, and plain loops in double with which spectral_conv and its gradients must agree.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "cpm/direct_conv.h"
#include "cpm/spectral_conv.h"
#include "cpm/winograd_conv.h"

namespace cpm_test {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kPi = 3.14159265358979323846;
// Relative to the norm of the expected result, or of the terms of a gradient's sums; 3e-7 was measured.
constexpr double kSpectralTolerance = 2e-6;
// With transformed tiles and weights rounded to bfloat16; 5e-3 to 1.2e-2 was measured.
constexpr double kRoundedTolerance = 4e-2;
// With spectra rounded to bfloat16; 2.5e-3 to 3.5e-3 was measured.
constexpr double kPairTolerance = 6e-3;

inline std::vector<float> random_floats(std::mt19937& generator, int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(generator);
    return values;
}

// Returns the nearest bfloat16, by arithmetic.
inline float nearest_bfloat16(float value) {
    if (value == 0.0f || !std::isfinite(value)) return value;
    int exponent;
    const double fraction = std::frexp(double{value}, &exponent);
    return static_cast<float>(std::ldexp(std::nearbyint(fraction * 256.0), exponent - 8));
}

// Calls the action with every instruction set that this machine has.
inline void for_each_simd(const std::function<void()>& action) {
    std::istringstream names(cpm::simd_choices());
    for (std::string name; names >> name;) {
        cpm::use_simd(name);
        action();
    }
}

struct Conv {
    cpm::SpectralConv params;
    std::vector<float> x, weight, bias, gradient;  // [N, h, w, C], [O, C, k, k], [O], [N, h, w, O]

    // Calls f(output [N, h, w, O], input [N, h, w, C], weight), all indices, for every product in the sum.
    template <typename Action>
    void for_each_product(Action f) const {
        const int64_t h = params.height, w = params.width, k = params.kernel, radius = k / 2;
        for (int64_t pixel = 0; pixel < params.images * h * w; ++pixel) {
            const int64_t y = pixel / w % h, x = pixel % w;
            for (int64_t tap = 0; tap < k * k; ++tap) {
                const int64_t dy = tap / k - radius, dx = tap % k - radius;
                if (y + dy < 0 || y + dy >= h || x + dx < 0 || x + dx >= w) continue;
                for (int64_t o = 0; o < params.outputs; ++o) {
                    for (int64_t c = 0; c < params.inputs; ++c) {
                        f(pixel * params.outputs + o, (pixel + dy * w + dx) * params.inputs + c,
                          (o * params.inputs + c) * k * k + tap);
                    }
                }
            }
        }
    }
};

inline Conv random_conv(std::mt19937& generator, const cpm::SpectralConv& params) {
    const int64_t cells = params.images * params.height * params.width;
    Conv conv{params, random_floats(generator, cells * params.inputs),
              random_floats(generator, params.outputs * params.inputs * params.kernel * params.kernel),
              random_floats(generator, params.outputs), random_floats(generator, cells * params.outputs)};
    return conv;
}

inline std::vector<float> spectra_of(const Conv& conv, bool adjoint, int threads) {
    const cpm::SpectralConv& params = conv.params;
    const int64_t from = adjoint ? params.outputs : params.inputs, to = adjoint ? params.inputs : params.outputs;
    std::vector<float> spectra(cpm::spectra_floats(to, from, params.kernel, params.tile), kNan);
    cpm::transform_weight_cpu(conv.weight.data(), spectra.data(), params.outputs, params.inputs, params.kernel,
                              params.tile, adjoint, threads);
    return spectra;
}

// ||found - wanted|| <= tolerance max(||wanted||, scale)
inline bool close(const std::vector<float>& found, const std::vector<double>& wanted, double scale = 0.0,
                  double tolerance = kSpectralTolerance) {
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        error += (found[i] - wanted[i]) * (found[i] - wanted[i]);
        norm += wanted[i] * wanted[i];
    }
    return found.size() == wanted.size() && std::sqrt(error) <= tolerance * std::max(std::sqrt(norm), scale);
}

inline double norm(const std::vector<float>& values) {
    double sum = 0.0;
    for (const float value : values) sum += double{value} * value;
    return std::sqrt(sum);
}

// Returns the maxima of windows of [N, h, w, O], as params says.
inline std::vector<double> pooled(const std::vector<double>& maps, const cpm::SpectralConv& params) {
    const int64_t h = params.height, w = params.width, outputs = params.outputs;
    std::vector<double> found;
    for (int64_t row = 0; row < params.images * h / 2; ++row) {
        for (int64_t column = 0; column < w / 2; ++column) {
            const int64_t image = row / (h / 2), top = 2 * (row % (h / 2)) - params.pool_padding;
            const int64_t left = 2 * column - params.pool_padding;
            for (int64_t o = 0; o < outputs; ++o) {
                double most = -std::numeric_limits<double>::infinity();
                for (int64_t y = std::max<int64_t>(top, 0); y < std::min(top + params.pool, h); ++y) {
                    for (int64_t x = std::max<int64_t>(left, 0); x < std::min(left + params.pool, w); ++x) {
                        most = std::max(most, maps[((image * h + y) * w + x) * outputs + o]);
                    }
                }
                found.push_back(most);
            }
        }
    }
    return found;
}

// Spreads [cells, channels] to [cells, pitch] with NaN between, or back, and then checks that NaN is still there.
inline std::vector<float> spread(const std::vector<float>& packed, int64_t channels, int64_t pitch) {
    std::vector<float> wide(channels == 0 ? 0 : packed.size() / channels * pitch, kNan);
    for (size_t i = 0; i < packed.size(); ++i) wide[i / channels * pitch + i % channels] = packed[i];
    return wide;
}

inline std::vector<float> gathered(const std::vector<float>& wide, int64_t channels, int64_t pitch) {
    std::vector<float> packed;
    for (size_t i = 0; i < wide.size(); ++i) {
        const bool between = static_cast<int64_t>(i % pitch) >= channels;
        CHECK(!between || std::isnan(wide[i]));
        if (!between) packed.push_back(wide[i]);
    }
    return packed;
}

// With bias, ReLU and pooling.
inline std::vector<double> plain_forward(const Conv& conv) {
    const cpm::SpectralConv& params = conv.params;
    std::vector<double> wanted(conv.gradient.size());
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = conv.bias[i % params.outputs];
    conv.for_each_product([&](int64_t o, int64_t i, int64_t w) { wanted[o] += double{conv.x[i]} * conv.weight[w]; });
    for (double& value : wanted) value = std::max(value, 0.0);
    if (params.pool) wanted = pooled(wanted, params);
    return wanted;
}

// Returns the numbers as bfloat16.
inline std::vector<uint16_t> halves_of(const std::vector<float>& values) {
    std::vector<uint16_t> halves;
    for (const float value : values) {
        const float nearest = nearest_bfloat16(value);
        uint32_t bits;
        std::memcpy(&bits, &nearest, sizeof(bits));
        halves.push_back(static_cast<uint16_t>(bits >> 16));
    }
    return halves;
}

inline void check_forward(const Conv& conv, int64_t budget, int threads) {
    const cpm::SpectralConv& params = conv.params;
    const auto spectra = spectra_of(conv, false, threads);
    const auto halves = halves_of(spectra);
    const int64_t x_pitch = params.x_pitch ? params.x_pitch : params.inputs;
    const int64_t out_pitch = params.out_pitch ? params.out_pitch : params.outputs;
    std::vector<float> workspace(cpm::spectral_workspace(params, budget, threads), kNan);
    const auto x = spread(conv.x, params.inputs, x_pitch);
    const int64_t cells = params.images * params.height * params.width / (params.pool ? 4 : 1);
    std::vector<float> out(cells * out_pitch, kNan);
    const void* weights = params.bf16 ? static_cast<const void*>(halves.data()) : spectra.data();
    cpm::spectral_conv_cpu(x.data(), nullptr, weights, conv.bias.data(), out.data(), params, true, workspace.data(),
                           budget, threads);
    out = gathered(out, params.outputs, out_pitch);
    CHECK(close(out, plain_forward(conv), norm(conv.x), params.bf16 ? kRoundedTolerance : kSpectralTolerance));
}

inline Conv random_direct(std::mt19937& generator, const cpm::DirectConv& params) {
    return random_conv(generator, {params.images, params.height, params.width, params.inputs, params.outputs,
                                   params.kernel, 16, 0, 0, params.pool, params.pool_padding});
}

// Floats of a weight with so many taps or products for each input and output.
inline int64_t packed_floats(const cpm::DirectConv& params, int64_t taps) {
    const int64_t words = params.bf16 ? (params.inputs + 1) / 2 : params.inputs;
    return (params.outputs + 15) / 16 * 16 * words * taps;
}

// Calls run(x, out) with maps of the pitches that params say, and returns what is in out.
template <typename Run>
std::vector<float> run_spread(const Conv& conv, const cpm::DirectConv& params, Run run) {
    const auto x = spread(conv.x, params.inputs, params.x_pitch ? params.x_pitch : params.inputs);
    const int64_t out_pitch = params.out_pitch ? params.out_pitch : params.outputs;
    std::vector<float> out(params.images * params.height * params.width / (params.pool ? 4 : 1) * out_pitch, kNan);
    run(x.data(), out.data());
    return gathered(out, params.outputs, out_pitch);
}

inline void check_winograd(std::mt19937& generator, const cpm::DirectConv& params, int threads) {
    const Conv conv = random_direct(generator, params);
    std::vector<float> transformed(packed_floats(params, cpm::kWinogradProducts), kNan);
    cpm::winograd_weight_cpu(conv.weight.data(), transformed.data(), params.outputs, params.inputs, false,
                             params.bf16, threads);
    std::vector<float> workspace(cpm::winograd_workspace(params, threads), kNan);
    const auto out = run_spread(conv, params, [&](const float* x, float* to) {
        cpm::winograd_conv_cpu(x, transformed.data(), conv.bias.data(), to, params, true, workspace.data(), threads);
    });
    CHECK(close(out, plain_forward(conv), norm(conv.x), params.bf16 ? kRoundedTolerance : kSpectralTolerance));
}

inline void check_direct(std::mt19937& generator, const cpm::DirectConv& params, int threads) {
    Conv conv = random_direct(generator, params);
    std::vector<float> packed(packed_floats(params, params.kernel * params.kernel), kNan);
    cpm::pack_weight_cpu(conv.weight.data(), packed.data(), params.outputs, params.inputs, params.kernel,
                         params.bf16, threads);
    std::vector<float> workspace(cpm::direct_workspace(params, threads), kNan);
    const auto out = run_spread(conv, params, [&](const float* x, float* to) {
        cpm::direct_conv_cpu(x, packed.data(), conv.bias.data(), to, params, true, workspace.data(), threads);
    });
    if (params.bf16) {
        for (float& value : conv.x) value = nearest_bfloat16(value);
        for (float& value : conv.weight) value = nearest_bfloat16(value);
    }
    CHECK(close(out, plain_forward(conv), norm(conv.x)));
}

// With a gate that is closed for about half of the gradient.
inline void check_gradients(const Conv& conv, int64_t budget, int threads) {
    const cpm::SpectralConv& params = conv.params;
    std::vector<float> gate(conv.gradient.size()), gated(gate.size());
    for (size_t i = 0; i < gate.size(); ++i) {
        gate[i] = std::sin(static_cast<float>(i));
        gated[i] = gate[i] > 0.0f ? conv.gradient[i] : 0.0f;
    }
    std::vector<double> dx(conv.x.size()), dweight(conv.weight.size()), dbias(conv.bias.size());
    for (size_t i = 0; i < gated.size(); ++i) dbias[i % params.outputs] += gated[i];
    conv.for_each_product([&](int64_t o, int64_t i, int64_t w) {
        dx[i] += double{gated[o]} * conv.weight[w];
        dweight[w] += double{gated[o]} * conv.x[i];
    });

    cpm::SpectralConv adjoint = params;
    std::swap(adjoint.inputs, adjoint.outputs);
    const auto spectra = spectra_of(conv, true, threads);
    std::vector<float> workspace(cpm::spectral_workspace(adjoint, budget, threads), kNan), found(dx.size(), kNan);
    cpm::spectral_conv_cpu(conv.gradient.data(), gate.data(), spectra.data(), nullptr, found.data(), adjoint, false,
                           workspace.data(), budget, threads);
    CHECK(close(found, dx, norm(gated)));

    workspace.assign(cpm::spectral_gradient_workspace(params, budget, threads), kNan);
    std::vector<float> found_weight(dweight.size(), kNan), found_bias(dbias.size(), kNan);
    cpm::spectral_weight_gradient_cpu(conv.gradient.data(), gate.data(), conv.x.data(), found_weight.data(),
                                      found_bias.data(), params, workspace.data(), budget, threads);
    CHECK(close(found_weight, dweight, norm(gated)));
    CHECK(close(found_bias, dbias, norm(gated)));
}

// The places of windows' maxima, of which the first counts, and gradients through them.
inline void check_places(const Conv& conv, int pool, int padding, int64_t budget, int threads) {
    cpm::SpectralConv whole = conv.params, params = conv.params;
    params.pool = pool;
    params.pool_padding = padding;
    const int64_t h = params.height, w = params.width, outputs = params.outputs;
    const auto spectra = spectra_of(conv, false, threads);
    std::vector<float> maps(conv.gradient.size(), kNan), out(maps.size() / 4, kNan), values(out.size());
    std::vector<unsigned char> places(out.size(), 99);
    const auto run = [&](const cpm::SpectralConv& each, std::vector<float>& to, unsigned char* found) {
        std::vector<float> workspace(cpm::spectral_workspace(each, budget, threads), kNan);
        cpm::spectral_conv_cpu(conv.x.data(), {}, spectra.data(), conv.bias.data(), to.data(), each, true,
                               workspace.data(), budget, threads, found);
    };
    run(whole, maps, nullptr);
    run(params, out, places.data());
    Conv gradients = conv;
    std::fill(gradients.gradient.begin(), gradients.gradient.end(), 0.0f);
    int64_t wrong = 0;
    for (size_t i = 0; i < out.size(); ++i) {
        const int64_t o = i % outputs, column = i / outputs % (w / 2), row = i / outputs / (w / 2) % (h / 2);
        const int64_t image = i / outputs / (w / 2) / (h / 2);
        float most = 0.0f;
        int place = 0;
        int64_t at = 0;
        for (int each = 0; each < pool * pool; ++each) {
            const int64_t y = 2 * row - padding + each / pool, x = 2 * column - padding + each % pool;
            if (y < 0 || x < 0 || y >= h || x >= w) continue;
            const int64_t cell = ((image * h + y) * w + x) * outputs + o;
            if (maps[cell] <= most) continue;
            most = maps[cell];
            place = 1 + each;
            at = cell;
        }
        wrong += out[i] != most || places[i] != place;
        values[i] = conv.gradient[i];
        if (place > 0) gradients.gradient[at] += values[i];
    }
    CHECK(wrong == 0);

    const cpm::Gate gate(places.data(), pool, padding);
    cpm::SpectralConv adjoint = conv.params;
    std::swap(adjoint.inputs, adjoint.outputs);
    const auto turned = spectra_of(conv, true, threads);
    const auto run_back = [&](const float* gradient, const cpm::Gate& through) {
        std::vector<std::vector<float>> found{std::vector<float>(conv.x.size(), kNan),
                                              std::vector<float>(conv.weight.size(), kNan),
                                              std::vector<float>(conv.bias.size(), kNan)};
        std::vector<float> workspace(cpm::spectral_workspace(adjoint, budget, threads), kNan);
        cpm::spectral_conv_cpu(gradient, through, turned.data(), nullptr, found[0].data(), adjoint, false,
                               workspace.data(), budget, threads);
        workspace.assign(cpm::spectral_gradient_workspace(whole, budget, threads), kNan);
        cpm::spectral_weight_gradient_cpu(gradient, through, conv.x.data(), found[1].data(), found[2].data(), whole,
                                          workspace.data(), budget, threads);
        return found;
    };
    const auto found = run_back(values.data(), gate), wanted = run_back(gradients.gradient.data(), {});
    for (size_t i = 0; i < found.size(); ++i) {
        CHECK(close(found[i], std::vector<double>(wanted[i].begin(), wanted[i].end()), norm(values)));
    }
}

}  // namespace cpm_test

// One pass each way, strip by strip in cache, since the moments of the image's patches give every sum over all cells that
// the weight alone decides (patch_moments.h):
//
//     forward    image -> moments of patches -> mean, variance      image -> strip -> normalized, ReLU, pool -> y
//     backward   image, dy -> strip -> its gradient -> sums of the gradient and of its products with the patches
//
// A normalization's gradient is factor * gradient - shift - slope * (value - mean), its last two terms known only after
// all cells. In dweight they are multiplied by sums of patches and of products of patches, which the moments hold.
//
// A strip is some windows of 2 x 2 cells side by side, and a block of 16 outputs. With 3 inputs a convolution is 27
// multiply-adds per cell and output; writing the map to memory and reading it again is far slower.
//
// 3->32 @256, batch 16: 1.8 GFLOP for each convolution, and as many for dweight: 3 of them in a step, 11 ms at the full
// rate of 2 cores of an EPYC 9005 (2 x 259 GFLOP/s). The map is 134 MB; the separate ops read or write it 20 times.
//
// Versions, ms forward and backward of this on two Zen 5 cores, y of bfloat16:
//     1  two passes each way, for sums and for values, each with the convolution    12.9  20.0
//     2  the sums over all cells from moments of the patches                        11.2  13.5

#include "cpm/conv_norm_pool.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "cpm/sizes.h"
#include "cpm/threads.h"
#include "norm_sums.h"
#include "patch_moments.h"

namespace cpm {
namespace {

using spectral::kBlock;
using spectral::kernels;

constexpr int64_t kWindows = 64;  // of a strip
constexpr int64_t kCells = 2 * kWindows;
// dweight is added up in this many parts, whatever the number of threads.
constexpr int64_t kParts = 64;

void check(const ConvNormPool& params) {
    if (params.images < 1 || params.height < 1 || params.width < 1 || params.inputs < 1) {
        throw std::invalid_argument("x must have cells and channels");
    }
    if (params.height % 2 != 0 || params.width % 2 != 0) throw std::invalid_argument("height and width must be even");
    if (params.outputs < 0) throw std::invalid_argument("outputs must not be negative");
    const auto bytes = static_cast<int64_t>(sizeof(double));
    element_count({params.images, params.height, params.width, params.inputs, bytes});
    element_count({params.images, params.height, params.width, params.outputs + kBlock, bytes});
    element_count({params.outputs + kBlock, 9, params.inputs, kParts, bytes});
    element_count({81, params.inputs + 1, params.inputs + 1, kMomentParts, bytes});
}

spectral::NormMaps maps_of(const ConvNormPool& params) {
    return params.bf16 ? spectral::kRoundedMaps : spectral::kFloatMaps;
}

// The strips of all images, row by row.
struct Strips {
    const ConvNormPool& params;
    int64_t across, segments, count, blocks, taps;

    explicit Strips(const ConvNormPool& params)
        : params(params), across(params.width / 2), segments((across + kWindows - 1) / kWindows),
          count(params.images * (params.height / 2) * segments), blocks(spectral::blocks_of(params.outputs)),
          taps(9 * params.inputs) {}
    int64_t first(int64_t strip) const { return strip % segments * kWindows; }
    int64_t windows(int64_t strip) const { return std::min(kWindows, across - first(strip)); }
    int64_t row(int64_t strip) const { return strip / segments; }  // of windows, of all images
    int64_t channels(int64_t block) const { return std::min<int64_t>(kBlock, params.outputs - block * kBlock); }
};

// The weight as [blocks, 3, 3, inputs, 16], and the bias as [blocks, 16]; zeros where there is no output.
struct Packed {
    std::vector<float> weights, bias;

    Packed(const Strips& strips, const float* weight, const float* given)
        : weights(static_cast<size_t>(strips.blocks * strips.taps * kBlock)),
          bias(static_cast<size_t>(strips.blocks * kBlock)) {
        for (int64_t output = 0; output < strips.params.outputs; ++output) {
            bias[output] = given[output];
            for (int64_t i = 0; i < strips.taps; ++i) weights[place(strips, output, i)] = weight[output * strips.taps + i];
        }
    }
    // The tap of weight [output, i], i counting inputs, rows and columns; and its place.
    static int64_t tap(const Strips& strips, int64_t i) { return i % 9 * strips.params.inputs + i / 9; }
    static size_t place(const Strips& strips, int64_t output, int64_t i) {
        return static_cast<size_t>((output / kBlock * strips.taps + tap(strips, i)) * kBlock + output % kBlock);
    }
};

// The memory of a thread: the cells that a strip reads, and its map and gradient.
class Strip {
public:
    explicit Strip(const Strips& strips)
        : strips_(strips), patch_(static_cast<size_t>(4 * (kCells + 2) * strips.params.inputs)), map_(2 * kCells * kBlock),
          gradient_(map_.size()) {}

    // Reads the cells of a strip and those around it.
    void read(const float* x, int64_t strip) {
        const ConvNormPool& params = strips_.params;
        cells_ = 2 * strips_.windows(strip);
        const int64_t half = params.height / 2, image = strips_.row(strip) / half;
        const int64_t top = strips_.row(strip) % half * 2 - 1, left = strips_.first(strip) * 2 - 1;
        const int64_t begin = std::max<int64_t>(left, 0), end = std::min(left + cells_ + 2, params.width);
        for (int64_t i = 0; i < 4; ++i) {
            float* to = patch_.data() + i * (cells_ + 2) * params.inputs;
            float* const last = to + (cells_ + 2) * params.inputs;
            if (top + i >= 0 && top + i < params.height) {
                const float* row = x + (image * params.height + top + i) * params.width * params.inputs;
                to = std::fill_n(to, (begin - left) * params.inputs, 0.0f);
                to = std::copy(row + begin * params.inputs, row + end * params.inputs, to);
            }
            std::fill(to, last, 0.0f);
        }
    }

    // Computes the map of a block of outputs.
    void convolve(const Packed& packed, int64_t block) { kernels().narrow_conv(rows(&packed, block, map_.data(), nullptr)); }

    // Adds the gradient of the block's weight.
    void add_gradient(double* dweight) { kernels().narrow_gradient(rows(nullptr, 0, gradient_.data(), dweight)); }

    // The windows of the map; of the pooled map `pooled` is the place of the first.
    spectral::NormWindows windows(int64_t block, const NormFactors& factors) const {
        return {map_.data(), nullptr, nullptr, cells_ / 2, strips_.channels(block), kBlock, cells_ * kBlock,
                strips_.params.outputs, true, factors.view(block * kBlock), nullptr, nullptr};
    }

    float* gradient() { return gradient_.data(); }

private:
    spectral::NarrowRows rows(const Packed* packed, int64_t block, float* map, double* dweight) const {
        const float* weights = packed == nullptr ? nullptr : packed->weights.data() + block * strips_.taps * kBlock;
        const float* bias = packed == nullptr ? nullptr : packed->bias.data() + block * kBlock;
        return {patch_.data(), weights, bias, map, dweight, cells_, strips_.params.inputs};
    }

    const Strips& strips_;
    int64_t cells_ = 0;
    std::vector<float> patch_, map_, gradient_;
};

// Calls run(part, strip, block, the place of its windows in a pooled map, memory) for all strips and blocks, with the
// strip's map of the block computed. A part of the strips runs in order.
template <typename Run>
void each_block(const Strips& strips, const float* x, const Packed& packed, int threads, const Run& run) {
    const int64_t parts = std::min(kParts, strips.count);
    threads::parallel(threads, parts, [&](int, int64_t part) {
        Strip memory(strips);
        for (int64_t strip = strips.count * part / parts; strip < strips.count * (part + 1) / parts; ++strip) {
            memory.read(x, strip);
            const int64_t window = strips.row(strip) * strips.across + strips.first(strip);
            for (int64_t block = 0; block < strips.blocks; ++block) {
                memory.convolve(packed, block);
                run(part, strip, block, window * strips.params.outputs + block * kBlock, memory);
            }
        }
    });
}

// Returns the weight's products with a row of taps: [outputs].
std::vector<double> weighted(const Strips& strips, const float* weight, const double* taps) {
    std::vector<double> sums(static_cast<size_t>(strips.params.outputs));
    for (int64_t output = 0; output < strips.params.outputs; ++output) {
        for (int64_t i = 0; i < strips.taps; ++i) {
            sums[output] += static_cast<double>(weight[output * strips.taps + i]) * taps[Packed::tap(strips, i)];
        }
    }
    return sums;
}

// Makes mean and variance of the convolution.
void moments_of(const Strips& strips, const float* weight, const float* bias, const double* moments, float* mean,
                float* variance) {
    const std::vector<double> means = weighted(strips, weight, moments);
    std::vector<double> variances(means.size());
    for (int64_t i = 0; i < strips.taps; ++i) {
        const std::vector<double> sums = weighted(strips, weight, moments + (1 + Packed::tap(strips, i)) * strips.taps);
        for (size_t output = 0; output < sums.size(); ++output) {
            variances[output] += sums[output] * weight[static_cast<int64_t>(output) * strips.taps + i];
        }
    }
    for (size_t output = 0; output < means.size(); ++output) {
        mean[output] = static_cast<float>(means[output] + bias[output]);
        // Rounding may leave less than nothing; NaN stays.
        variance[output] = static_cast<float>(variances[output] < 0.0 ? 0.0 : variances[output]);
    }
}

}  // namespace

void conv_norm_pool_cpu(const float* x, const float* weight, const float* bias, const float* scale, const float* shift,
                        void* y, float* mean, float* variance, double* moments, const ConvNormPool& params,
                        int threads) {
    check(params);
    const Strips strips(params);
    const Packed packed(strips, weight, bias);
    patch_moments(x, params.images, params.height, params.width, params.inputs, moments, threads);
    moments_of(strips, weight, bias, moments, mean, variance);
    const NormFactors factors(params.outputs, scale, shift, mean, variance, params.eps);
    each_block(strips, x, packed, threads, [&](int64_t, int64_t, int64_t block, int64_t at, Strip& memory) {
        spectral::NormWindows windows = memory.windows(block, factors);
        windows.y = value_at(y, at, params.bf16);
        kernels().norm_pool_write[maps_of(params)](windows);
    });
}

void conv_norm_pool_gradient_cpu(const void* dy, const float* x, const float* weight, const float* bias,
                                 const float* scale, const float* shift, const float* mean, const float* variance,
                                 const double* moments, float* dweight, float* dscale, float* dshift,
                                 const ConvNormPool& params, int threads) {
    check(params);
    const Strips strips(params);
    const Packed packed(strips, weight, bias);
    NormFactors factors(params.outputs, scale, shift, mean, variance, params.eps);
    NormSums sums(strips.count, strips.blocks * kBlock);
    // Products of the normalized map's gradient with the patches.
    std::vector<double> parts(static_cast<size_t>(kParts) * packed.weights.size());
    each_block(strips, x, packed, threads, [&](int64_t part, int64_t strip, int64_t block, int64_t at, Strip& memory) {
        spectral::NormWindows windows = memory.windows(block, factors);
        windows.dy = value_at(dy, at, params.bf16);
        windows.y = memory.gradient();
        windows.first = sums.first(strip) + block * kBlock;
        windows.second = sums.second(strip) + block * kBlock;
        kernels().norm_pool_gradient_share[params.bf16](windows);
        memory.add_gradient(parts.data() + part * packed.weights.size() + block * strips.taps * kBlock);
    });
    factors.take_gradient(sums, params.images * params.height * params.width, dscale, dshift);
    for (int64_t i = 0; i < strips.taps; ++i) {
        const int64_t tap = Packed::tap(strips, i);
        const std::vector<double> spread = weighted(strips, weight, moments + (1 + tap) * strips.taps);
        for (int64_t output = 0; output < params.outputs; ++output) {
            double product = 0.0;
            for (int64_t part = 0; part < kParts; ++part) {
                product += parts[part * packed.weights.size() + Packed::place(strips, output, i)];
            }
            // Of the distances from the means, as the gradient of all cells together is 0.
            product -= sums.first(0)[output] * moments[tap];
            const double inverse = 1.0 / std::sqrt(variance[output] + params.eps);
            const double slope = sums.second(0)[output] * inverse * inverse;
            dweight[output * strips.taps + i] =
                static_cast<float>(scale[output] * inverse * (product - slope * spread[output]));
        }
    }
}

}  // namespace cpm

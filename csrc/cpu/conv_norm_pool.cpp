// One pass each way, strip by strip in cache, since the moments of the image's patches give every sum over all cells that
// the weight alone decides (patch_moments.h):
//
//     forward    image -> moments of patches -> mean, variance      image -> strip -> normalized, ReLU, pool -> y
//     backward   image, dy, places of maxima -> gradient of a strip -> its sums, and those of its products with patches
//
// A normalization's gradient is factor * gradient - shift - slope * (value - mean), its last two terms known only after
// all cells. In dweight they are multiplied by sums of patches and of products of patches, which the moments hold. The
// gradient's product with the values is that with the patches, weighted. So backward computes no convolution.
//
// A strip is some windows of 2 x 2 cells side by side, and a block of 16 outputs. With 3 inputs a convolution is 27
// multiply-adds per cell and output; writing the map to memory and reading it again is far slower.
//
// 3->32 @256, batch 16: 1.8 GFLOP for each convolution, and as many for dweight: 2 of them in a step, 7 ms at the full
// rate of 2 cores of an EPYC 9005 (2 x 259 GFLOP/s). The map is 134 MB; the separate ops read or write it 20 times.
//
// Versions, ms forward and backward of this on two Zen 5 cores, y of bfloat16:
//     1  two passes each way, for sums and for values, each with the convolution    12.9  20.0
//     2  the sums over all cells from moments of the patches                        11.2  13.5
//     3  the forward pass keeps the places of maxima, a byte for each               11.6   9.1
//        version 2 in the same minutes                                              11.8  14.2

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

    // The windows of the map, with their places.
    spectral::NormWindows windows(int64_t block, const spectral::NormTerms& terms, unsigned char* places) const {
        return {map_.data(), nullptr, nullptr, cells_ / 2, strips_.channels(block), kBlock, cells_ * kBlock,
                strips_.params.outputs, true, terms, nullptr, nullptr, places};
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

// Calls run(part, block, the place of its windows in a pooled map, memory) for all strips and blocks, with the strip
// read. A part of the strips runs in order.
template <typename Run>
void each_block(const Strips& strips, const float* x, int threads, const Run& run) {
    const int64_t parts = std::min(kParts, strips.count);
    threads::parallel(threads, parts, [&](int, int64_t part) {
        Strip memory(strips);
        for (int64_t strip = strips.count * part / parts; strip < strips.count * (part + 1) / parts; ++strip) {
            memory.read(x, strip);
            const int64_t window = strips.row(strip) * strips.across + strips.first(strip);
            for (int64_t block = 0; block < strips.blocks; ++block) {
                run(part, block, window * strips.params.outputs + block * kBlock, memory);
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
                        void* y, unsigned char* places, float* mean, float* variance, double* moments,
                        const ConvNormPool& params, int threads) {
    check(params);
    const Strips strips(params);
    const Packed packed(strips, weight, bias);
    patch_moments(x, params.images, params.height, params.width, params.inputs, moments, threads);
    moments_of(strips, weight, bias, moments, mean, variance);
    const NormFactors factors(params.outputs, scale, shift, mean, variance, params.eps);
    each_block(strips, x, threads, [&](int64_t, int64_t block, int64_t at, Strip& memory) {
        memory.convolve(packed, block);
        spectral::NormWindows windows = memory.windows(block, factors.view(block * kBlock), places + at);
        windows.y = value_at(y, at, params.bf16);
        kernels().norm_pool_places[params.bf16](windows);
    });
}

void conv_norm_pool_gradient_cpu(const void* dy, const unsigned char* places, const float* x, const float* weight,
                                 const float* scale, const float* variance, const double* moments, float* dweight,
                                 float* dscale, float* dshift, const ConvNormPool& params, int threads) {
    check(params);
    const Strips strips(params);
    const int64_t taps = strips.taps, lanes = strips.blocks * kBlock;
    // Sums of the normalized values' gradient, and of its products with the patches.
    std::vector<double> part_sums(static_cast<size_t>(kParts * lanes)), part_products(part_sums.size() * taps);
    each_block(strips, x, threads, [&](int64_t part, int64_t block, int64_t at, Strip& memory) {
        // The kernel only reads them.
        spectral::NormWindows windows = memory.windows(block, {}, const_cast<unsigned char*>(places) + at);
        windows.dy = value_at(dy, at, params.bf16);
        windows.y = memory.gradient();
        windows.first = part_sums.data() + part * lanes + block * kBlock;
        kernels().norm_pool_gradient_places[params.bf16](windows);
        memory.add_gradient(part_products.data() + (part * lanes + block * kBlock) * taps);
    });
    const auto sum_parts = [](const std::vector<double>& parts, int64_t step, int64_t at) {
        double sum = 0.0;
        for (int64_t part = 0; part < kParts; ++part) sum += parts[part * step + at];
        return sum;
    };
    std::vector<double> sums(static_cast<size_t>(params.outputs)), values(sums), products(sums.size() * taps);
    for (int64_t output = 0; output < params.outputs; ++output) {
        sums[output] = sum_parts(part_sums, lanes, output);
        for (int64_t i = 0; i < taps; ++i) {
            const double sum = sum_parts(part_products, lanes * taps, Packed::place(strips, output, i));
            // The product with a tap's distance from its mean.
            products[output * taps + i] = sum - sums[output] * moments[Packed::tap(strips, i)];
            values[output] += products[output * taps + i] * weight[output * taps + i];
        }
    }
    for (int64_t i = 0; i < taps; ++i) {
        const std::vector<double> spread = weighted(strips, weight, moments + (1 + Packed::tap(strips, i)) * taps);
        for (int64_t output = 0; output < params.outputs; ++output) {
            const double inverse = 1.0 / std::sqrt(variance[output] + params.eps);
            const double slope = values[output] * inverse * inverse;
            dweight[output * taps + i] =
                static_cast<float>(scale[output] * inverse * (products[output * taps + i] - slope * spread[output]));
            dscale[output] = static_cast<float>(values[output] * inverse);
            dshift[output] = static_cast<float>(sums[output]);
        }
    }
}

}  // namespace cpm

// Two passes each way, for sums and for values, and each computes the convolution again, strip by strip in cache:
//
//     forward    image -> strip -> moments             image -> strip -> normalized, ReLU, pool -> y
//     backward   image, dy -> strip -> sums            image, dy -> strip -> its gradient -> dweight
//
// A strip is some windows of 2 x 2 cells side by side, and a block of 16 outputs. With 3 inputs a convolution is 27
// multiply-adds per cell and output; writing the map to memory and reading it again is far slower.
//
// 3->32 @256, batch 16: 1.8 GFLOP for each convolution, and as many for dweight: 5 of them in a step, 18 ms at the full
// rate of 2 cores of an EPYC 9005 (2 x 259 GFLOP/s). The map is 134 MB; the separate ops read or write it 20 times.

#include "cpm/conv_norm_pool.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cpm/sizes.h"
#include "cpm/threads.h"
#include "norm_sums.h"

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
    // The place of weight [output, i], i counting inputs, rows and columns.
    static size_t place(const Strips& strips, int64_t output, int64_t i) {
        const int64_t tap = i % 9 * strips.params.inputs + i / 9;
        return static_cast<size_t>((output / kBlock * strips.taps + tap) * kBlock + output % kBlock);
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

    spectral::NormChunk chunk(NormSums& sums, int64_t strip, int64_t block) const {
        return {map_.data(), nullptr, nullptr, 2 * cells_, kBlock, true, {}, sums.first(strip) + block * kBlock,
                sums.second(strip) + block * kBlock};
    }

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

}  // namespace

void conv_norm_pool_cpu(const float* x, const float* weight, const float* bias, const float* scale, const float* shift,
                        void* y, float* mean, float* variance, const ConvNormPool& params, int threads) {
    check(params);
    const Strips strips(params);
    const Packed packed(strips, weight, bias);
    NormSums sums(strips.count, strips.blocks * kBlock);
    each_block(strips, x, packed, threads, [&](int64_t, int64_t strip, int64_t block, int64_t, Strip& memory) {
        kernels().norm_sums[spectral::kFloatMaps](memory.chunk(sums, strip, block));
    });
    sums.moments(params.outputs, [&](int64_t strip) { return 4 * strips.windows(strip); }, mean, variance);
    const NormFactors factors(params.outputs, scale, shift, mean, variance, params.eps);
    each_block(strips, x, packed, threads, [&](int64_t, int64_t, int64_t block, int64_t at, Strip& memory) {
        spectral::NormWindows windows = memory.windows(block, factors);
        windows.y = value_at(y, at, params.bf16);
        kernels().norm_pool_write[maps_of(params)](windows);
    });
}

void conv_norm_pool_gradient_cpu(const void* dy, const float* x, const float* weight, const float* bias,
                                 const float* scale, const float* shift, const float* mean, const float* variance,
                                 float* dweight, float* dscale, float* dshift, const ConvNormPool& params, int threads) {
    check(params);
    const Strips strips(params);
    const Packed packed(strips, weight, bias);
    NormFactors factors(params.outputs, scale, shift, mean, variance, params.eps);
    NormSums sums(strips.count, strips.blocks * kBlock);
    each_block(strips, x, packed, threads, [&](int64_t, int64_t strip, int64_t block, int64_t at, Strip& memory) {
        spectral::NormWindows windows = memory.windows(block, factors);
        windows.dy = value_at(dy, at, params.bf16);
        windows.first = sums.first(strip) + block * kBlock;
        windows.second = sums.second(strip) + block * kBlock;
        kernels().norm_pool_gradient_sums[maps_of(params)](windows);
    });
    factors.take_gradient(sums, params.images * params.height * params.width, dscale, dshift);
    std::vector<double> parts(static_cast<size_t>(kParts) * packed.weights.size());
    each_block(strips, x, packed, threads, [&](int64_t part, int64_t, int64_t block, int64_t at, Strip& memory) {
        spectral::NormWindows windows = memory.windows(block, factors);
        windows.dy = value_at(dy, at, params.bf16);
        windows.y = memory.gradient();
        kernels().norm_pool_gradient_write[maps_of(params)](windows);
        memory.add_gradient(parts.data() + part * packed.weights.size() + block * strips.taps * kBlock);
    });
    for (int64_t output = 0; output < params.outputs; ++output) {
        for (int64_t i = 0; i < strips.taps; ++i) {
            double sum = 0.0;
            for (int64_t part = 0; part < kParts; ++part) {
                sum += parts[part * packed.weights.size() + Packed::place(strips, output, i)];
            }
            dweight[output * strips.taps + i] = static_cast<float>(sum);
        }
    }
}

}  // namespace cpm

// 36 small matrix products between two transforms; see spectral/winograd.h. Plain sums take 9 products for each input
// and output of a cell, this takes 2.25. 3x3 144->144 @32: 96 of 382 MFLOP, 3 MB of weights, 1.3 MB of values, 1.3 MB of
// products.
//
// Versions, ms on 2 cores of an EPYC 9005 (AVX-512, 2 x 259 GFLOP/s, twice that with pairs of bfloat16), batch 1:
//
//                                         32->48 @128 + pool   48->96 @64 + pool   144->144 @32   96->96 @32
//     in the frequency domain                 0.88                 0.45                0.55          0.37
//     direct, bfloat16                        0.65                                     0.52          0.24
//     predicted: products at full rate        0.22                 0.16                0.18          0.08
//     1  as above                             0.48                 0.29                0.29          0.15
//        bfloat16                             0.32                 0.19                0.19          0.09
//
//     2  ranges of magnitudes found along with the transforms of cells: see spectral_conv.cpp, version 7
//
// The rest is the transforms: with few channels there are few products for each value to transform.
//
// A chunk is some rows of tiles. While there is a chunk for each thread, a thread takes a chunk through all three stages,
// and its values and products stay in its own cache; the others are shared stage by stage.

#include "cpm/winograd_conv.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "spectral/bfloat16.h"
#include "spectral/split.h"
#include "spectral/wide_ranges.h"

namespace cpm {
namespace {

using namespace spectral;

constexpr int kSide = 6, kStep = 4;

// A chunk's values and products take at most this, or half of what its weights take, which are read once a chunk; but
// those of all threads at most the second, unless each takes the first.
constexpr int64_t kChunkBytes = 768 << 10, kMostBytes = 64 << 20;

// Beside a value this many times larger, outputs are wrong by up to 2e-5 of the size of their terms; by plain sums 2e-7.
constexpr float kMostRange = 1024.0f;

void check(const DirectConv& params) {
    check_sizes(with_smallest_tile(params));
    if (params.kernel != 3) throw std::invalid_argument("kernel must be 3, got " + std::to_string(params.kernel));
    if (params.pool != 0 && params.pool != 2) {
        throw std::invalid_argument("pool must be 2 or 0, got " + std::to_string(params.pool));
    }
}

int64_t words_of(int64_t inputs, bool bf16) { return bf16 ? (inputs + 1) / 2 : inputs; }

struct Layout {
    int team;
    int64_t across, rows, chunks, chunk_rows;  // rows: of tiles, of all images
    int64_t value_step, product_step, bias_floats;

    Layout(const DirectConv& params, int threads) : team(std::max(threads, 1)) {
        const int64_t in_floats = blocks_of(params.inputs) * kBlock, out_floats = blocks_of(params.outputs) * kBlock;
        across = (params.width + kStep - 1) / kStep;
        rows = params.images * ((params.height + kStep - 1) / kStep);
        const int64_t row_bytes = 4 * kWinogradProducts * across * (in_floats + out_floats);
        const int64_t weight_bytes = 4 * kWinogradProducts * words_of(params.inputs, params.bf16) * out_floats;
        const int64_t chunk_bytes = std::max(kChunkBytes, std::min(weight_bytes / 2, kMostBytes / team));
        const int64_t most = std::max<int64_t>(chunk_bytes / row_bytes, 1);
        // Threads get the same number of chunks where there are enough rows.
        chunks = (rows + most * team - 1) / (most * team) * team;
        chunks = std::min(chunks, rows);
        chunk_rows = (rows + chunks - 1) / chunks;
        value_step = odd_lines(chunk_rows * across * in_floats);
        product_step = odd_lines(chunk_rows * across * out_floats);
        bias_floats = out_floats;
    }
    int64_t chunk_floats() const { return kWinogradProducts * (value_step + product_step); }
    int64_t floats() const { return kBlock + 2 * bias_floats + std::min<int64_t>(team, chunks) * chunk_floats(); }
};

// The transform of three taps, `step` apart, of a block of outputs: the values of their polynomial, times what makes the
// transform of cells whole.
void transform_taps(const double (*g)[kBlock], int step, double (*z)[kBlock], int z_step) {
    // a = sqrt(1/2) and b = sqrt(2), as in winograd.h: 2 a^2 (a^2 - b^2) = -3/2, and 2 b^2 (b^2 - a^2) = 6.
    const double inner = 0.70710678118654752440, outer = 1.41421356237309504880;
    for (int lane = 0; lane < kBlock; ++lane) {
        const double first = g[0][lane], middle = g[step][lane], last = g[2 * step][lane];
        const double even_inner = first + 0.5 * last, even_outer = first + 2.0 * last;
        z[0][lane] = first;
        z[z_step][lane] = (even_inner + inner * middle) / -1.5;
        z[2 * z_step][lane] = (even_inner - inner * middle) / -1.5;
        z[3 * z_step][lane] = (even_outer + outer * middle) / 6.0;
        z[4 * z_step][lane] = (even_outer - outer * middle) / 6.0;
        z[5 * z_step][lane] = last;
    }
}

// A weight as it lies in memory: outputs are `output_step` kernels apart, inputs `input_step`.
struct Kernel3x3s {
    const float* weight;
    int64_t outputs, inputs, output_step, input_step;
    bool turned;
};

// The transforms of the kernels of one input and a block of outputs; zeros where there is no input or output.
void transform_kernels(const Kernel3x3s& from, int64_t first_output, int64_t input, double (*products)[kBlock]) {
    double taps[9][kBlock] = {}, half[3 * kSide][kBlock];
    const int64_t count = input < from.inputs ? std::min<int64_t>(kBlock, from.outputs - first_output) : 0;
    for (int64_t lane = 0; lane < count; ++lane) {
        const float* kernel = from.weight + ((first_output + lane) * from.output_step + input * from.input_step) * 9;
        for (int tap = 0; tap < 9; ++tap) taps[tap][lane] = kernel[from.turned ? 8 - tap : tap];
    }
    for (int row = 0; row < 3; ++row) transform_taps(taps + 3 * row, 1, half + kSide * row, 1);
    for (int i = 0; i < kSide; ++i) transform_taps(half + i, kSide, products + i, kSide);
}

}  // namespace

void winograd_weight_cpu(const float* weight, void* transformed, int64_t outputs, int64_t inputs, bool adjoint,
                         bool bf16, int threads) {
    check({0, 0, 0, inputs, outputs, 3});
    const Kernel3x3s from = adjoint ? Kernel3x3s{weight, inputs, outputs, 1, inputs, true}
                                    : Kernel3x3s{weight, outputs, inputs, inputs, 1, false};
    const int64_t blocks = blocks_of(from.outputs), words = words_of(from.inputs, bf16);
    threads::parallel_ranges(std::max(threads, 1), blocks * words, [&](int, int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
            const int64_t block = task / words, word = task % words;
            double products[2][kWinogradProducts][kBlock];
            for (int i = 0; i < (bf16 ? 2 : 1); ++i) {
                transform_kernels(from, block * kBlock, bf16 ? 2 * word + i : word, products[i]);
            }
            for (int product = 0; product < kWinogradProducts; ++product) {
                const int64_t place = ((product * blocks + block) * words + word) * kBlock;
                for (int lane = 0; lane < kBlock; ++lane) {
                    const float one = static_cast<float>(products[0][product][lane]);
                    if (bf16) {
                        const float two = static_cast<float>(products[1][product][lane]);
                        static_cast<uint32_t*>(transformed)[place + lane] = bfloat16_pair(one, two);
                    } else {
                        static_cast<float*>(transformed)[place + lane] = one;
                    }
                }
            }
        }
    });
}

int64_t winograd_workspace(const DirectConv& params, int threads) {
    check(params);
    return is_empty(with_smallest_tile(params)) ? 0 : Layout(params, threads).floats();
}

std::vector<int64_t> winograd_conv_cpu(const float* x, const void* transformed, const float* bias, float* out,
                                       const DirectConv& params, bool relu, float* workspace, int threads) {
    check(params);
    if (is_empty(with_smallest_tile(params))) return {};
    const SpectralConv full = with_pitches(with_smallest_tile(params));
    const Layout layout(params, threads);
    std::vector<unsigned char> broken(static_cast<size_t>(params.images));
    WideRanges ranges(x, nullptr, params.images, params.height, params.width, params.inputs, full.x_pitch, 3);
    advise_large_pages(workspace, layout.floats());
    advise_large_pages(out, params.images * params.height * params.width / (params.pool == 0 ? 1 : 4) * full.out_pitch);
    float *offsets = aligned(workspace), *zeros = offsets + layout.bias_floats;
    std::fill(std::copy(bias, bias + params.outputs, offsets), zeros + layout.bias_floats, 0.0f);
    const Kernels& run = kernels();
    const auto job = [&](int place, int64_t chunk) {
        const int64_t first = layout.rows * chunk / layout.chunks;
        float* values = zeros + layout.bias_floats + place * layout.chunk_floats();
        return Winograd{x, transformed, offsets, zeros, out, broken.data(), params.height, params.width, params.inputs,
                        params.outputs, full.x_pitch, full.out_pitch, relu, params.pool != 0, first,
                        layout.rows * (chunk + 1) / layout.chunks - first, layout.across, values,
                        values + kWinogradProducts * layout.value_step, layout.value_step, layout.product_step};
    };
    const auto tasks = [&](int stage, int64_t chunk) {
        if (stage == 1) return int64_t{kWinogradProducts};
        return job(0, chunk).rows * blocks_of(stage == 0 ? params.inputs : params.outputs);
    };
    share_units(layout.team, layout.chunks, 3, tasks,
                [&](int stage, int, int place, int64_t chunk, int64_t begin, int64_t end) {
                    const Winograd each = job(place, chunk);
                    if (stage == 0) {
                        const int64_t count = tasks(0, chunk);
                        ranges.find(chunk * count + begin, chunk * count + end, layout.chunks * count);
                        run.winograd_read[params.bf16](each, begin, end);
                    }
                    if (stage == 1) run.winograd_multiply[params.bf16](each, begin, end);
                    if (stage == 2) run.winograd_write(each, begin, end);
                });
    ranges.mark(kMostRange, broken.data());
    std::vector<int64_t> images;
    for (int64_t image = 0; image < params.images; ++image) {
        if (broken[static_cast<size_t>(image)]) images.push_back(image);
    }
    return images;
}

}  // namespace cpm

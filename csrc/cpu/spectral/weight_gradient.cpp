// The gradient in weight and bias: for each frequency the product of all tiles' spectra of x and of the gradient, which
// counts as zero outside a tile's own outputs, so that the circular correlation equals the required one. Units are
// immediately summed back to k rows, chunk after chunk. The bias's gradient is already in the spectra, as frequency 0.
//
//     x, gradient -> strips -> a unit's spectra, both [t, tiles, blocks]
//                                  | x conj(gradient), summed over tiles
//     dweight <- k rows [units, blocks, C, k] <- some of a unit's [t, some blocks, 16]
//
// The spectra of x are computed again rather than kept from the forward pass: this takes a tenth of the time, while
// keeping them would take (t / m)^2 times the memory of x, and as much traffic as it saves.

#include <algorithm>
#include <vector>

#include "cpm/sizes.h"
#include "cpm/spectral_conv.h"
#include "split.h"

namespace cpm {
namespace {

using namespace spectral;

// The share of a core's cache for products before they are summed to rows.
constexpr int64_t kProductBytes = 256 << 10;
constexpr int64_t kPairBytes = int64_t{kBlock} * kComplex * sizeof(float);

struct Layout {
    Side x, gradient;
    int64_t pair_floats;  // blocks of outputs x inputs, complex
    int64_t row_floats;
    int64_t part_blocks, part_step;  // of outputs, whose products with 16 inputs are made together; floats a frequency

    explicit Layout(const Split& split)
        : x(split.side(split.params.inputs, kTriple, split.input_rows())),
          gradient(split.side(split.params.outputs, kComplex, split.output_rows())),
          pair_floats(blocks_of(split.params.outputs) * split.params.inputs * kComplex),
          row_floats(split.params.tile / 2 * pair_floats * split.params.kernel),
          part_blocks(std::clamp<int64_t>(kProductBytes / ((split.params.tile + 2) * kPairBytes), 1,
                                          std::max<int64_t>(gradient.blocks, 1))),
          part_step(odd_lines(part_blocks * kBlock * kComplex)) {}

    int64_t unit_floats(int tile) const { return x.unit_floats(tile) + gradient.unit_floats(tile); }
    int64_t member_floats(int tile) const { return unit_floats(tile) + (tile + 2) * part_step; }
    int64_t part_count() const { return (gradient.blocks + part_blocks - 1) / part_blocks * x.blocks; }
    // The memory that grows with the chunk, for one thread: chunks must not depend on threads, as sums over them would.
    int64_t chunk_floats(int tile) const {
        return x.strip_floats(tile) + gradient.strip_floats(tile) + unit_floats(tile);
    }
    int64_t floats(const Split& split) const {
        const int tile = split.params.tile;
        return kBlock + chunk_floats(tile) - unit_floats(tile) + split.team * member_floats(tile) + row_floats;
    }
};

// Each chunk adds to all k rows. If these take at most so much, chunks fit into cache: 9x9 3->128 @368, batch 4, then takes
// 31.5 ms on two Zen 5 cores with any chunks of 3 to 24 MB, and 49 with 64 MB. Otherwise they are as large as the budget
// allows: 9x9 128->128 @184 takes 60 ms with 64 MB, 96 with 16.
constexpr int64_t kFewRowBytes = 2 << 20;

Split split_for(const SpectralConv& params, int64_t budget, int threads) {
    const Layout layout(make_split(params, params.images, -1, blocks_of(params.outputs), threads));
    const bool few = layout.row_floats * static_cast<int64_t>(sizeof(float)) <= kFewRowBytes;
    return fit_split(params, few ? std::min(budget, kCacheBytes) : budget, threads,
                     [](const Split& split) { return Layout(split).chunk_floats(split.params.tile); });
}

// spectra: frequency 0 of the gradient's tiles, [tiles, blocks, complex block], each number the sum of a tile, doubled.
void add_bias(const float* spectra, int64_t tiles, int64_t outputs, std::vector<double>& dbias) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
        const float* sums = spectra + tile * blocks_of(outputs) * kComplex;
        for (int64_t o = 0; o < outputs; ++o) dbias[o] += 0.5 * sums[o / kBlock * kComplex + o % kBlock];
    }
}

void add_chunk(const float* gradient, const Gate& gate, const float* x, std::vector<double>& dbias, bool first_time,
               const Split& split, const Layout& layout, const Chunk& chunk, float* workspace) {
    const Kernels& run = kernels();
    const SpectralConv& params = split.params;
    const int tile = params.tile;
    const int64_t cells = params.height * params.width;
    float* rows = workspace + split.team * layout.member_floats(tile);
    float* strips = rows + layout.row_floats;
    const Strips x_strips{strips, layout.x.strip_step, chunk.images, split.across.tiles, layout.x.blocks, chunk.rows,
                          chunk.first_row};
    const Strips gradient_strips{strips + layout.x.strip_floats(tile), layout.gradient.strip_step, chunk.images,
                                 split.across.tiles, layout.gradient.blocks, chunk.outputs, chunk.first_output};
    const int64_t x_start = chunk.first_image * cells * params.inputs;
    const int64_t start = chunk.first_image * (cells / gate.cells()) * params.outputs;
    const ReadRows read_x{x + x_start, {}, params.height, params.inputs, params.inputs, split.across, Cover::all,
                          tile, x_strips};
    const ReadRows read{gradient + start, gate.after(start), params.height, params.outputs,
                        params.outputs, split.across, Cover::outputs, tile, gradient_strips};
    for (const ReadRows& job : {read_x, read}) {
        threads::parallel_ranges(split.team, row_tasks(job.strips),
                    [&](int, int64_t begin, int64_t end) { run.read_rows(job, begin, end); });
    }

    const int64_t tiles = chunk.images * split.across.tiles * chunk.tiles_down;
    const int64_t row_floats = params.kernel * kComplex;
    // Multiplies 16 inputs with some blocks of outputs, and immediately sums the products to rows.
    const auto multiply = [&](int member, const UnitSpectra& left, const UnitSpectra& right, int64_t unit,
                              int64_t begin, int64_t end) {
        float* products = workspace + (member + 1) * layout.member_floats(tile) - (tile + 2) * layout.part_step;
        for (int64_t part = begin; part < end; ++part) {
            const int64_t input_block = part % layout.x.blocks, input = input_block * kBlock;
            const int64_t block = part / layout.x.blocks * layout.part_blocks;
            const int64_t blocks = std::min(layout.part_blocks, layout.gradient.blocks - block);
            const int64_t inputs = std::min<int64_t>(kBlock, params.inputs - input);
            run.multiply[0]({left.data + input_block * kTriple, left.frequency_step, 1, 0, layout.x.blocks * kTriple,
                          right.data + block * kComplex, right.frequency_step, kComplex,
                          layout.gradient.blocks * kComplex,
                          products, layout.part_step, kComplex, kBlock * kComplex, inputs, tiles, tiles, blocks, true},
                         0, unit_frequencies(tile, unit));
            float* rows_at = rows + unit * layout.pair_floats * params.kernel +
                             (block * params.inputs + input) * row_floats;
            run.gradient_columns({products, layout.part_step, rows_at, params.inputs * row_floats, unit, blocks, inputs,
                                  params.kernel, tile, first_time});
        }
    };
    const auto stage = [&](int i, int member, int place, int64_t unit, int64_t begin, int64_t end) {
        float* own = workspace + place * layout.member_floats(tile);
        const UnitSpectra left{own, layout.x.frequency_step, chunk.first_down, chunk.tiles_down};
        const UnitSpectra right{own + layout.x.unit_floats(tile), layout.gradient.frequency_step, chunk.first_down,
                                chunk.tiles_down};
        if (i == 0) {
            run.columns_forward[0]({x_strips, unit, left, split.down, Cover::all, tile}, begin, end);
        } else if (i == 1) {
            run.columns_forward[0]({gradient_strips, unit, right, split.down, Cover::outputs, tile}, begin, end);
        } else {
            multiply(member, left, right, unit, begin, end);
            if (unit == 0 && begin == 0) add_bias(right.data, tiles, params.outputs, dbias);
        }
    };
    const auto tasks = [&](int i, int64_t) {
        return i == 0 ? tiles * layout.x.blocks : i == 1 ? tiles * layout.gradient.blocks : layout.part_count();
    };
    share_units(split.team, tile / 2, 3, tasks, stage);
}

}  // namespace

int64_t spectral_gradient_workspace(const SpectralConv& params, int64_t budget, int threads) {
    check_sizes(params);
    if (is_empty(params)) return 0;
    const Split split = split_for(params, budget, threads);
    return Layout(split).floats(split);
}

void spectral_weight_gradient_cpu(const float* gradient, const Gate& gate, const float* x, float* dweight,
                                  float* dbias, const SpectralConv& params, float* workspace, int64_t budget,
                                  int threads) {
    check_sizes(params);
    check_windows(gate.side, gate.padding, params);
    if (is_empty(params)) {
        std::fill_n(dweight, element_count({params.outputs, params.inputs, params.kernel, params.kernel}), 0.0f);
        std::fill_n(dbias, params.outputs, 0.0f);
        return;
    }
    const Split split = split_for(params, budget, threads);
    const Layout layout(split);
    advise_large_pages(workspace, layout.floats(split));
    std::vector<double> sums(static_cast<size_t>(params.outputs));
    float* own = aligned(workspace);
    for (int64_t i = 0; i < split.chunk_count(); ++i) {
        add_chunk(gradient, gate, x, sums, i == 0, split, layout, split.chunk(i), own);
    }
    std::copy(sums.begin(), sums.end(), dbias);
    const GradientRows job{own + split.team * layout.member_floats(params.tile), dweight, params.outputs, params.inputs,
                           params.kernel, params.tile};
    threads::parallel_ranges(split.team, layout.gradient.blocks * params.inputs,
                [&](int, int64_t begin, int64_t end) { kernels().gradient_rows(job, begin, end); });
}

}  // namespace cpm

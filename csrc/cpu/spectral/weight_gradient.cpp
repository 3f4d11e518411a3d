// The gradient in weight and bias: for each frequency the product of all tiles' spectra of x and of the gradient, which
// is taken as zero outside a tile's own outputs, so that a circular correlation is the one wanted. Units are summed
// back to k rows at once, chunk after chunk. The bias's gradient is in the spectra already, as frequency 0.
//
//     x, gradient -> strips -> a unit's spectra, both [t, tiles, blocks]
//                                  | x conj(gradient), summed over tiles
//     dweight <- k rows [units, blocks, C, k] <- a unit's [t, blocks, C]
//
// The spectra of x are transformed anew rather than kept from the forward pass: that is a tenth of the time, where
// keeping them would take (t / m)^2 times the memory of x, and as much traffic as it saves.

#include <algorithm>
#include <vector>

#include "cpm/sizes.h"
#include "cpm/spectral_conv.h"
#include "plan.h"

namespace cpm {
namespace {

using namespace spectral;

struct Layout {
    Side x, gradient;
    int64_t pair_floats;  // blocks of outputs x inputs, complex
    int64_t row_floats;

    explicit Layout(const Plan& plan)
        : x(plan.side(plan.params.inputs, kTriple, plan.input_rows())),
          gradient(plan.side(plan.params.outputs, kComplex, plan.output_rows())),
          pair_floats(blocks_of(plan.params.outputs) * plan.params.inputs * kComplex),
          row_floats(plan.params.tile / 2 * pair_floats * plan.params.kernel) {}

    int64_t unit_floats(int tile) const { return x.unit_floats(tile) + gradient.unit_floats(tile); }
    int64_t member_floats(int tile) const { return unit_floats(tile) + (tile + 2) * pair_floats; }
    // What grows with the chunk.
    int64_t chunk_floats(const Plan& plan) const {
        const int tile = plan.params.tile;
        return x.strip_floats(tile) + gradient.strip_floats(tile) + plan.team * unit_floats(tile);
    }
    int64_t floats(const Plan& plan) const {
        return kBlock + chunk_floats(plan) + plan.team * (plan.params.tile + 2) * pair_floats + row_floats;
    }
};

Plan plan_for(const SpectralConv& params, int64_t budget, int threads) {
    return fit_plan(params, budget, threads, [](const Plan& plan) { return Layout(plan).chunk_floats(plan); });
}

// spectra: frequency 0 of the gradient's tiles, [tiles, blocks, complex block], each number the sum of a tile, doubled.
void add_bias(const float* spectra, int64_t tiles, int64_t outputs, std::vector<double>& dbias) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
        const float* sums = spectra + tile * blocks_of(outputs) * kComplex;
        for (int64_t o = 0; o < outputs; ++o) dbias[o] += 0.5 * sums[o / kBlock * kComplex + o % kBlock];
    }
}

void add_chunk(const float* gradient, const float* gate, const float* x, std::vector<double>& dbias, bool first_time,
               const Plan& plan, const Layout& layout, const Chunk& chunk, float* workspace) {
    const Kernels& run = kernels();
    const SpectralConv& params = plan.params;
    const int tile = params.tile;
    const int64_t cells = params.height * params.width;
    float* rows = workspace + plan.team * layout.member_floats(tile);
    float* strips = rows + layout.row_floats;
    const Strips x_strips{strips, layout.x.strip_step, chunk.images, plan.across.tiles, layout.x.blocks, chunk.rows,
                          chunk.first_row};
    const Strips gradient_strips{strips + layout.x.strip_floats(tile), layout.gradient.strip_step, chunk.images,
                                 plan.across.tiles, layout.gradient.blocks, chunk.outputs, chunk.first_output};
    const int64_t x_start = chunk.first_image * cells * params.inputs;
    const int64_t start = chunk.first_image * cells * params.outputs;
    const ReadRows read_x{x + x_start, nullptr, params.height, params.inputs, params.inputs, plan.across, Cover::all, tile,
                          x_strips};
    const ReadRows read{gradient + start, gate == nullptr ? nullptr : gate + start, params.height, params.outputs,
                        params.outputs, plan.across, Cover::outputs, tile, gradient_strips};
    for (const ReadRows& job : {read_x, read}) {
        share_tasks(plan.team, row_tasks(job.strips),
                    [&](int64_t begin, int64_t end) { run.read_rows(job, begin, end); });
    }

    const int64_t tiles = chunk.images * plan.across.tiles * chunk.tiles_down;
    const auto stage = [&](int i, int, int place, int64_t unit, int64_t begin, int64_t end) {
        float* own = workspace + place * layout.member_floats(tile);
        const UnitSpectra left{own, layout.x.frequency_step, chunk.first_down, chunk.tiles_down};
        const UnitSpectra right{own + layout.x.unit_floats(tile), layout.gradient.frequency_step, chunk.first_down,
                                chunk.tiles_down};
        float* products = own + layout.unit_floats(tile);
        if (i == 0) {
            run.columns_forward({x_strips, unit, left, plan.down, Cover::all, tile}, begin, end);
        } else if (i == 1) {
            run.columns_forward({gradient_strips, unit, right, plan.down, Cover::outputs, tile}, begin, end);
        } else if (i == 2) {
            for (int64_t block = 0; block < layout.x.blocks; ++block) {
                const Product product{
                    left.data + block * kTriple, left.frequency_step, 1, 0, layout.x.blocks * kTriple,
                    right.data, right.frequency_step, kComplex, layout.gradient.blocks * kComplex,
                    products + block * kBlock * kComplex, layout.pair_floats, kComplex, params.inputs * kComplex,
                    std::min<int64_t>(kBlock, params.inputs - block * kBlock), tiles, tiles, layout.gradient.blocks,
                    true};
                run.multiply(product, begin, end);
            }
            if (unit == 0 && begin == 0) add_bias(right.data, tiles, params.outputs, dbias);
        } else {
            run.gradient_columns({products, rows + unit * layout.pair_floats * params.kernel, unit, params.outputs,
                                  params.inputs, params.kernel, tile, first_time},
                                 begin, end);
        }
    };
    const auto tasks = [&](int i, int64_t unit) {
        return i == 0   ? tiles * layout.x.blocks
               : i == 1 ? tiles * layout.gradient.blocks
               : i == 2 ? unit_frequencies(tile, unit)
                        : layout.gradient.blocks * params.inputs;
    };
    share_units(plan.team, tile / 2, 4, tasks, stage);
}

}  // namespace

int64_t spectral_gradient_workspace(const SpectralConv& params, int64_t budget, int threads) {
    check_sizes(params);
    if (is_empty(params)) return 0;
    const Plan plan = plan_for(params, budget, threads);
    return Layout(plan).floats(plan);
}

void spectral_weight_gradient_cpu(const float* gradient, const float* gate, const float* x, float* dweight,
                                  float* dbias, const SpectralConv& params, float* workspace, int64_t budget,
                                  int threads) {
    check_sizes(params);
    if (is_empty(params)) {
        std::fill_n(dweight, element_count({params.outputs, params.inputs, params.kernel, params.kernel}), 0.0f);
        std::fill_n(dbias, params.outputs, 0.0f);
        return;
    }
    const Plan plan = plan_for(params, budget, threads);
    const Layout layout(plan);
    advise_large_pages(workspace, layout.floats(plan));
    std::vector<double> sums(static_cast<size_t>(params.outputs));
    float* own = aligned(workspace);
    for (int64_t i = 0; i < plan.chunk_count(); ++i) {
        add_chunk(gradient, gate, x, sums, i == 0, plan, layout, plan.chunk(i), own);
    }
    std::copy(sums.begin(), sums.end(), dbias);
    const GradientRows job{own + plan.team * layout.member_floats(params.tile), dweight, params.outputs, params.inputs,
                           params.kernel, params.tile};
    share_tasks(plan.team, layout.gradient.blocks * params.inputs,
                [&](int64_t begin, int64_t end) { kernels().gradient_rows(job, begin, end); });
}

}  // namespace cpm

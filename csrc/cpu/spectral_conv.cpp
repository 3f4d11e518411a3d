// Rows, then columns: a chunk's rows are transformed along x, once for all tiles that share them; then unit by unit (a
// column of frequencies) its tiles are transformed along y, multiplied, transformed back and cropped; then rows again,
// with bias and ReLU. A vector holds channels, so no transform moves data across a vector, and every number is read and
// written in the order in which it lies, or in blocks of two cache lines.
//
// Only the x transforms of the weights are kept too; weights.h makes the y transforms of some of them just before they
// are multiplied.
//
//     x   [N, h, w, C] -> strips [units, N, tiles across, blocks, rows] -> a unit's spectra  [t, tiles, blocks]
//                          weights [units, blocks, C, k rows] -> of some |  x  [some of t, some blocks, C]
//     out [N, h, w, O] <- strips [units, N, tiles across, blocks, rows] <- a unit's products [t, tiles, blocks]
//
// 9x9 128->128 @184, t = 54: 16 tiles, 2.3 GFLOP of products (90 direct), 0.3 of transforms of maps and 0.3 of weights,
// 32 MB of weights (191 as whole spectra), 17 MB in, 17 MB out, and 20 MB of strips, for both in turn.
//
// Versions, ms on 2 cores of an EPYC 9004 (AVX-512, 2 x 116 GFLOP/s, 27 to 35 GB/s), fp32, batch 1, buffers warm;
// beside them oneDNN's direct convolution, measured along with version 1:
//
//                                                          9x9 @184  9x9 @92  11x11 @46  5x5 @46  9x9 3->256 @368
//                                                          t = 54    32       22         16       54
//     oneDNN                                               385       95       46         2.0      112
//     1  as above                                          25        8.3      3.7        0.38     39
//     2  weights and scattered pieces fetched ahead,       20        6.3      2.5        0.36     38
//        weights in large pages
//     3  chunks that fit into cache where weights do       20        6.3      2.5        0.36     35
//
//     4  3x3 pooling while finished rows are in cache: 9x9 3->256 @368 with its pool 26, where version 3 and PyTorch's
//        pool had taken 51 + 42; 9x9 @184 with its pool 20 (26 + 1.6). Measured in one process with the whole network.
//        9x9 3->256 @368 is at the mercy of the shared L3: 50 to 60 on the same machine with a busy neighbor, for any
//        tile. Chunks of 4 MB took 27 to 31, of 8 to 12 MB 25 to 27, of 16 MB 30 to 31.
//
//     5  of weights only the x transforms are kept        22        6.9      3.1        1.8 (5x5 128->160 @46)
//        version 4 in the same minutes                    19.7      6.0      2.7        1.5
//        The whole network of 6 stages: a first call 150 to 165 ms beyond a later one, 1020 to 1450 before; 830 MB
//        resident, 1488 before; later calls 136 ms, 123 before: y transforms of weights cost 10 to 15 % of a product of
//        16 tiles. At batch 8: 880 ms, 790 to 1090 before, with 1.5 GB, 4.2 before. A first form, with fast transforms
//        and rows that came from memory when they were wanted, cost 30 to 50 %: now products fetch the rows that come
//        next.
//
//     6  the members of a team share the products of the last unit, which one thread computed where a unit's weights fit
//        into one pass: compact-lsp, whose 7x7 layers have 11 units (t = 22), takes 0.985 of the time of version 5 on
//        two Zen 3 cores.
//
//     7  the ranges of magnitudes are found while rows are read, and where the units that are left can be cut into a
//        part for each member, each takes some tiles through all steps: 3 regions of the pool a layer, 7 before.
//        compact-lsp, one image, takes 0.95 of the time in bfloat16 and 0.97 in float32 on two Zen 5 cores (predicted:
//        28 regions of 2 us less, 0.96); wide-lsp in bfloat16 0.98.
//
//     8  in training, with a pool behind it, the forward pass keeps the places of maxima, and gradients read these in
//        place of the map: see unpool.h. Batch 4 on two Zen 5 cores, forward and backward, beside version 7 and
//        PyTorch's pool, each op alone: 9x9 3->128 @368 38 + 51 ms, 99 + 168 before; 9x9 128->128 @184 55 + 123,
//        67 + 153 before; @92 17 + 34, 18 + 37 before. A step of six stages takes 0.86 of the time (predicted: 5 GB less
//        traffic, 0.88) and 1.4 GB, 2.9 before. A first form, with one loop over windows for all widths and places, took 14 ms more @368.
//
//     9  with weights of bfloat16, spectra of maps are bfloat16 too, and products those of pairs (pair_product.h).
//        Predicted: 2 instructions a complex product, 3 before, so products in 2/3 of the time, and transforms as before.
//        ms in bfloat16 on two Zen 5 cores, buffers in memory, versions 7 and 9, with the products' share in parentheses:
//
//                                    one image                    eight images
//            9x9 128->128 @184       13.0 (5.7)    10.2 (3.3)     98  (46)      75  (27)
//            9x9 128->128 @92         4.0 (1.96)    3.0 (1.14)    24  (11.1)    19  (6.6)
//            11x11 128->128 @46       1.80 (0.93)   1.36 (0.57)    7.4 (2.9)     5.8 (1.7)
//            9x9 3->256 @368         14.3 (2.1)    13.7 (1.6)    112  (17)     104  (12)
//
//        Products take 0.6 of the time, less than predicted, because a number of a map takes 4 bytes, 12 before. The rest
//        is at the memory's speed: of 13.7 ms, 7.1 write rows and 2.9 transform columns back.
//
//    10  where no places are wanted, a pool takes its maxima from the transform's result (pooled_rows.h). One image in
//        bfloat16, versions 9 and 10 in turns: 9x9 3->256 @368 12.2 and 10.5 ms, 9x9 128->128 @184 9.6 and 9.5.
//
//    11  where they fit, a unit's products take the place of its input, which is in cache. Predicted for 9x9 128->128 @184:
//        20 MB less to fetch and to write back, 0.5 ms. One image, versions 10 and 11 in turns: 9.9 and 9.4 ms in
//        bfloat16, 12.6 and 12.1 in float32.
//
//    12  pooled outputs beyond the caches are written past them. Predicted for 8 images of 9x9 3->256 @368: 278 MB less to
//        fetch, 9 ms at 30 GB/s. cpm6, 8 images in bfloat16, versions 11 and 12 in turns: 387 and 373 ms at best.
//
// At 20 ms the product takes 11 (138 GFLOP/s a core, counting four multiplications), reading rows 3, the columns 1.8
// and 1.5, writing rows 2.6; rows are at the memory's speed, and so is all of 9x9 3->256, whose output alone is 139 MB.

#include "cpm/spectral_conv.h"

#include <algorithm>
#include <stdexcept>

#include "cpm/sizes.h"
#include "spectral/conv_layout.h"
#include "spectral/wide_ranges.h"

namespace cpm {
namespace {

using namespace spectral;

// All outputs of a tile have an error of about 1e-7 of its largest magnitude, so a window whose largest magnitude is this
// many times smaller has outputs wrong by about 1e-3 of their size.
constexpr float kMostRange = 8192.0f;

// A pooled output of more bytes than this is written past the caches: it would not stay there until the next layer.
constexpr int64_t kStreamedBytes = int64_t{64} << 20;

bool streams(const float* out, const SpectralConv& params) {
    constexpr int64_t kLine = 64;
    const int64_t pitch = params.out_pitch * 4, cells = params.images * params.height * params.width / 4;
    return params.pool != 0 && cells * pitch > kStreamedBytes && pitch % kLine == 0 &&
           reinterpret_cast<uintptr_t>(out) % kLine == 0;
}

// Members take equally many whole units. Returns the parts into which each unit that is left is cut, by its tiles, if every
// member then gets one part; else 0. Each part makes the unit's y transforms of weights.
int64_t parts_of_units(int team, int64_t units, int64_t tiles) {
    constexpr int64_t kMostParts = 4;
    const int64_t left = units % team;
    if (left == 0 || team % left != 0) return 0;
    const int64_t parts = team / left;
    return parts <= std::min(kMostParts, tiles) ? parts : 0;
}

// Multiplies the strips of a chunk's input with split.chunk_blocks blocks of output channels.
void convolve_blocks(const Strips& in, float* product_strips, const void* spectra, const float* bias, float* out,
                     unsigned char* places, bool relu, unsigned char* broken, const Split& split,
                     const Layout& layout, const Chunk& chunk, int64_t first_block, float* workspace) {
    const Kernels& run = kernels();
    const SpectralConv& params = split.params;
    const int tile = params.tile;
    const int64_t blocks = std::min(split.chunk_blocks, blocks_of(params.outputs) - first_block);
    const int64_t across = chunk.images * split.across.tiles, tiles = across * chunk.tiles_down;
    const int64_t units = tile / 2, parts = parts_of_units(split.team, units, tiles);
    // Products take the place of a unit's input where they fit and nothing reads the input after them: all blocks of
    // outputs are made at once, and the parts of a unit, which run at once, are of whole columns of tiles, whose products
    // lie where their own input lay.
    const int64_t room = in.blocks * in.rows, needed = blocks * chunk.outputs;
    const bool in_place = blocks == blocks_of(params.outputs) &&
                          (parts == 0 ? needed <= room : needed == room && across % parts == 0);
    const Strips products{in_place ? in.data : product_strips, in_place ? in.unit_step : layout.out.strip_step,
                          chunk.images, split.across.tiles, blocks, chunk.outputs, chunk.first_output};
    const auto unit_spectra = [&](int place, bool product) -> UnitSpectra {
        float* own = workspace + place * layout.member_floats(tile) + (product ? layout.in.unit_floats(tile) : 0);
        return {own, product ? layout.out.frequency_step : layout.in.frequency_step, chunk.first_down,
                chunk.tiles_down};
    };
    const int64_t left_floats = run.left_floats[params.bf16], weight_floats = run.weight_floats[params.bf16];
    const int64_t weight_block = params.inputs * params.kernel * kComplex;
    const int64_t weight_unit = blocks_of(params.outputs) * weight_block;
    const auto weights_at = [&](int64_t number) -> const void* {
        return static_cast<const char*>(spectra) + number * (params.bf16 ? 2 : 4);
    };
    const WeightPasses alone(params), together = alone.shared(split.team, tile);
    const auto passes_of = [&](int64_t unit) -> const WeightPasses& {
        return parts > 0 || unit < units / split.team * split.team ? alone : together;
    };
    // Multiplies some tiles by the tasks' passes of weights.
    const auto multiply = [&](int member, const UnitSpectra& left, const UnitSpectra& right, int64_t unit,
                              int64_t begin, int64_t end, int64_t first_tile, int64_t count_tiles) {
        float* columns = workspace + (member + 1) * layout.member_floats(tile) - layout.column_floats;
        const float* from = left.data + first_tile * layout.in.blocks * left_floats;
        float* to = right.data + first_tile * products.blocks * kComplex;
        const WeightPasses& passes = passes_of(unit);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t block = task / passes.groups * passes.blocks, group = task % passes.groups;
            const int64_t count = std::min(passes.blocks, blocks - block), first = group * passes.quads;
            const int64_t last = std::min<int64_t>(first + passes.quads, unit_quads(tile));
            const int64_t weights = unit * weight_unit + (first_block + block) * weight_block;
            const WeightColumns made{weights_at(weights), params.bf16, columns, passes.column_step, unit, first,
                                     last - first, params.kernel, tile};
            run.weight_columns[params.bf16](made, 0, count * params.inputs);
            // A part of the next weights is prefetched.
            const bool more = block + passes.blocks < blocks;
            const int64_t next_weights = more ? weights + passes.blocks * weight_block
                                              : (unit + 1) * weight_unit + first_block * weight_block;
            const float* next = static_cast<const float*>(weights_at(next_weights));
            const int64_t part = passes.blocks * weight_block / (4 * passes.groups) / (params.bf16 ? 2 : 1);
            for (int i = 0; i < 4; ++i) {
                const QuadRun quads = quad_run(tile, unit, i, first, last);
                const int64_t in_step = left.frequency_step, out_step = right.frequency_step;
                const float* weight = columns + (i * made.quads + quads.skipped) * passes.column_step;
                run.multiply[params.bf16](
                    {from + quads.frequency * in_step, quads.step * in_step, layout.in.blocks * left_floats,
                     left_floats, 1, weight, passes.column_step, params.inputs * weight_floats, weight_floats,
                     to + quads.frequency * out_step + block * kComplex, quads.step * out_step,
                     products.blocks * kComplex, kComplex, count_tiles, params.inputs, kBlock, count, false,
                     next + (4 * group + i) * part, part},
                    0, quads.count);
            }
        }
    };
    const auto stage = [&](int i, int member, int place, int64_t unit, int64_t begin, int64_t end) {
        const UnitSpectra left = unit_spectra(place, false), right = unit_spectra(place, true);
        if (i == 0) {
            run.columns_forward[params.bf16]({in, unit, left, split.down, Cover::all, tile}, begin, end);
        } else if (i == 1) {
            multiply(member, left, right, unit, begin, end, 0, tiles);
        } else {
            run.columns_inverse({products, unit, right, split.down, Cover::outputs, tile}, begin, end);
        }
    };
    const auto tasks = [&](int i, int64_t unit) {
        return i == 1 ? passes_of(unit).tasks(blocks)
                      : tiles * (i == 0 ? in.blocks : products.blocks);
    };
    if (parts == 0) {
        share_units(split.team, units, 3, tasks, stage);
    } else {
        const int64_t each = units / split.team;
        threads::parallel(split.team, (each + 1) * split.team, [&](int member, int64_t index) {
            const int64_t owner = index / (each + 1), i = index % (each + 1);
            const int64_t unit = i < each ? owner * each + i : each * split.team + owner / parts;
            const int64_t part = i < each ? 0 : owner % parts, of = i < each ? 1 : parts;
            const int64_t first = tiles * part / of, count = tiles * (part + 1) / of - first;
            const UnitSpectra left = unit_spectra(member, false), right = unit_spectra(member, true);
            run.columns_forward[params.bf16]({in, unit, left, split.down, Cover::all, tile}, first * in.blocks,
                                (first + count) * in.blocks);
            multiply(member, left, right, unit, 0, alone.tasks(blocks), first, count);
            run.columns_inverse({products, unit, right, split.down, Cover::outputs, tile}, first * products.blocks,
                                (first + count) * products.blocks);
        });
    }

    const WriteRows write{products, bias, relu, broken, out, params.height,
                          params.outputs, params.out_pitch, first_block, split.across, tile,
                          streams(out, params)};
    if (params.pool == 0) {
        threads::parallel_ranges(split.team, row_tasks(products),
                    [&](int, int64_t begin, int64_t end) { run.write_rows(write, begin, end); });
        return;
    }
    // Two bands share a pair of rows, which is transformed twice, so there are only as many bands as the team needs.
    const int64_t bands = blocks * chunk.images < split.team ? split.team : 1;
    threads::parallel_ranges(split.team, blocks * chunk.images * bands, [&](int member, int64_t begin, int64_t end) {
        float* pair = workspace + (member + 1) * layout.member_floats(tile) - layout.column_floats - layout.pair_floats;
        run.write_pooled(write, {params.pool, params.pool_padding, bands, pair, places}, begin, end);
    });
}

void convolve_chunk(const float* x, const Gate& gate, const void* spectra, const float* bias, float* out,
                    unsigned char* places, bool relu, unsigned char* broken, const Split& split,
                    const Layout& layout, int64_t index, WideRanges& ranges, float* workspace) {
    const Kernels& run = kernels();
    const SpectralConv& params = split.params;
    const Chunk chunk = split.chunk(index);
    const int tile = params.tile;
    const int64_t x_image = params.height * params.width / gate.cells() * params.x_pitch;
    const int64_t out_image = params.height * params.width / (params.pool == 0 ? 1 : 4) * params.out_pitch;
    float* strips = workspace + split.team * layout.member_floats(tile);
    const Strips in{strips, layout.in.strip_step, chunk.images, split.across.tiles, layout.in.blocks, chunk.rows,
                    chunk.first_row};
    const int64_t x_start = chunk.first_image * x_image;
    const ReadRows read{x + x_start, gate.after(x_start), params.height, params.inputs,
                        params.x_pitch, split.across, Cover::all, tile, in};
    // Each chunk's tasks find an equal part of the ranges.
    const int64_t count = row_tasks(in), chunks = split.chunk_count();
    threads::parallel_ranges(split.team, count, [&](int, int64_t begin, int64_t end) {
        ranges.find(index * count + begin, index * count + end, chunks * count);
        run.read_rows(read, begin, end);
    });

    const int64_t out_start = chunk.first_image * out_image;
    for (int64_t block = 0; block < blocks_of(params.outputs); block += split.chunk_blocks) {
        convolve_blocks(in, strips + layout.in.strip_floats(tile), spectra, bias, out + out_start,
                        places == nullptr ? nullptr : places + out_start, relu, broken + chunk.first_image, split,
                        layout, chunk, block, workspace);
    }
}

}  // namespace

void transform_weight_cpu(const float* weight, float* spectra, int64_t outputs, int64_t inputs, int kernel, int tile,
                          bool adjoint, int threads) {
    check_sizes({0, 0, 0, inputs, outputs, kernel, tile});
    const Weights job{weight, spectra, outputs, inputs, kernel, tile, adjoint};
    const int64_t tasks = adjoint ? blocks_of(inputs) * outputs : blocks_of(outputs) * inputs;
    advise_large_pages(spectra, adjoint ? spectra_floats(inputs, outputs, kernel, tile)
                                        : spectra_floats(outputs, inputs, kernel, tile));
    const Kernels& run = kernels();
    threads::parallel_ranges(std::max(threads, 1), tasks,
                [&](int, int64_t begin, int64_t end) { run.transform_weight(job, begin, end); });
}

int64_t spectral_workspace(const SpectralConv& params, int64_t budget, int threads) {
    check_sizes(params);
    if (is_empty(params)) return 0;
    const Split split = split_for(with_pitches(params), budget, threads);
    return Layout(split).floats(split);
}

std::vector<int64_t> spectral_conv_cpu(const float* x, const Gate& gate, const void* spectra, const float* bias,
                                       float* out, const SpectralConv& params, bool relu, float* workspace,
                                       int64_t budget, int threads, unsigned char* places) {
    check_sizes(params);
    check_windows(gate.side, gate.padding, params);
    if (places != nullptr && (params.pool == 0 || !relu || with_pitches(params).out_pitch != params.outputs)) {
        throw std::invalid_argument("places need a pool and ReLU, and an output that lies side by side");
    }
    if (is_empty(params)) return {};
    const Split split = split_for(with_pitches(params), budget, threads);
    const Layout layout(split);
    std::vector<unsigned char> broken(static_cast<size_t>(params.images));
    WideRanges ranges(x, gate, params.images, params.height, params.width, params.inputs, split.params.x_pitch,
                      params.kernel);
    advise_large_pages(workspace, layout.floats(split));
    advise_large_pages(out, params.images * params.height * params.width / (params.pool == 0 ? 1 : 4) *
                                split.params.out_pitch);
    for (int64_t i = 0; i < split.chunk_count(); ++i) {
        convolve_chunk(x, gate, spectra, bias, out, places, relu, broken.data(), split, layout, i, ranges,
                       aligned(workspace));
    }
    ranges.mark(kMostRange, broken.data());
    std::vector<int64_t> images;
    for (int64_t image = 0; image < params.images; ++image) {
        if (broken[static_cast<size_t>(image)]) images.push_back(image);
    }
    return images;
}

}  // namespace cpm

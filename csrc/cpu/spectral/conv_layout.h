// The workspace of a convolution: strips and units of maps, and the weights that wait to be multiplied.
#pragma once

#include <algorithm>

#include "split.h"

namespace cpm::spectral {
namespace {

// The y transforms of weights are made for every chunk. If all of them take at most this, chunks fit into cache;
// if they take more, chunks are as large as the budget allows.
constexpr int64_t kFewWeightBytes = 24 << 20;

// The share of a core's cache for the y transforms of weights that wait to be multiplied.
constexpr int64_t kColumnBytes = 512 << 10;
constexpr int64_t kMostQuads = 8;

// The weights of a unit that are transformed at a time: blocks of outputs and fours of frequencies.
struct WeightPasses {
    int64_t blocks, quads, groups, column_step;

    explicit WeightPasses(const SpectralConv& params) {
        const int64_t all = unit_quads(params.tile), block_floats = params.inputs * kComplex;
        const int64_t quad_bytes = 4 * std::max<int64_t>(block_floats, 1) * static_cast<int64_t>(sizeof(float));
        const int64_t most = std::clamp<int64_t>(kColumnBytes / quad_bytes, 1, kMostQuads);
        groups = (all + most - 1) / most;
        quads = (all + groups - 1) / groups;
        blocks = std::clamp<int64_t>(kColumnBytes / (quads * quad_bytes), 1, blocks_of(params.outputs));
        column_step = odd_lines(blocks * block_floats);
    }
    // For a unit that a team shares: at least as many passes as members.
    WeightPasses shared(int team, int tile) const {
        WeightPasses more = *this;
        const int64_t all = unit_quads(tile), least = std::min<int64_t>(std::max<int64_t>(groups, team), all);
        more.quads = (all + least - 1) / least;
        more.groups = (all + more.quads - 1) / more.quads;
        return more;
    }
    int64_t floats() const { return 4 * quads * column_step; }
    int64_t tasks(int64_t all_blocks) const { return (all_blocks + blocks - 1) / blocks * groups; }
};

// Steps between frequencies are those of triples and complex blocks even where a product has pairs, so that a workspace
// fits every instruction set.
struct Layout {
    Side in, out;
    int64_t pair_floats;    // of finished rows, or maxima of their windows, until the next rows are finished
    int64_t column_floats;  // of weights

    explicit Layout(const Split& split)
        : in(split.side(split.params.inputs, kTriple, split.input_rows())),
          out(split.side(split.chunk_blocks * kBlock, kComplex, split.output_rows())),
          pair_floats(split.params.pool == 0 ? 0 : 2 * split.params.width * kBlock),
          column_floats(WeightPasses(split.params).floats()) {}

    int64_t member_floats(int tile) const {
        return in.unit_floats(tile) + out.unit_floats(tile) + pair_floats + column_floats;
    }
    // The memory that grows with the chunk.
    int64_t chunk_floats(const Split& split) const {
        const int tile = split.params.tile;
        return in.strip_floats(tile) + out.strip_floats(tile) + split.team * (member_floats(tile) - column_floats);
    }
    int64_t floats(const Split& split) const { return kBlock + chunk_floats(split) + split.team * column_floats; }
};

Split split_for(const SpectralConv& params, int64_t budget, int threads) {
    const int64_t frequencies = int64_t{params.tile} * params.tile / 2 + 2;
    const int64_t weights = frequencies * params.inputs * blocks_of(params.outputs) * kComplex;
    const bool few = weights * static_cast<int64_t>(sizeof(float)) <= kFewWeightBytes;
    return fit_split(params, few ? std::min(budget, kCacheBytes) : budget, threads,
                     [](const Split& split) { return Layout(split).chunk_floats(split); });
}

}  // namespace
}  // namespace cpm::spectral

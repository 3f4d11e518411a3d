// The split of a convolution: tiles along both axes, chunks of tiles whose spectra are processed together, and the
// layout of the workspace. Shared by the forward pass and the gradients.
#pragma once

#include <cstdint>

#include "cpm/direct_conv.h"
#include "cpm/spectral_conv.h"
#include "cpm/threads.h"
#include "kernels.h"

namespace cpm::spectral {

// The chunks of a convolution whose weights take little, so that their cost for each chunk does not count. Tuned on 2 cores
// of an EPYC 9004, with 1 MB of L2 each and a shared L3: 9x9 3->256 @368 takes 35 ms with chunks of 8 MB, 43 with 16 MB,
// 61 with 2 MB.
constexpr int64_t kCacheBytes = 8 << 20;

struct Chunk {
    int64_t first_image, images;
    int64_t first_down, tiles_down;
    int64_t first_row, rows;          // input rows that its tiles cover
    int64_t first_output, outputs;    // output rows
};

// One tensor's activations in a pass, tile by tile, transformed along x in strips and along y unit by unit.
struct Side {
    int64_t blocks;
    int width;  // floats of a block in a unit's spectra: kTriple or kComplex
    int64_t rows;
    int64_t strip_step, frequency_step;  // floats, padded against colliding cache lines

    int64_t strip_floats(int tile) const { return tile / 2 * strip_step; }
    int64_t unit_floats(int tile) const { return (tile + 2) * frequency_step; }
};

struct Split {
    SpectralConv params;
    Axis down, across;
    int team;
    int64_t chunk_images, chunk_down;
    int64_t chunk_blocks;  // of output channels that are processed together
    int64_t tiles;         // of a chunk, at most

    int64_t chunk_count() const;
    Chunk chunk(int64_t index) const;
    // The larger of the strip's heights, input rows or output rows.
    int64_t input_rows() const;
    int64_t output_rows() const;
    Side side(int64_t channels, int width, int64_t rows) const;
};

// Rounds up, so that consecutive pieces begin an odd number of cache lines apart: otherwise pieces written in turn
// would fall on the same few sets of a cache.
inline int64_t odd_lines(int64_t floats) { return (floats / kBlock | 1) * kBlock; }

// Throws std::invalid_argument.
void check_sizes(const SpectralConv& params);

// Refuses windows of a pool that do not exist, or not on a map of this size; a side of 0: none. Throws likewise.
void check_windows(int side, int padding, const SpectralConv& params);

// Replaces zero pitches by the channels.
SpectralConv with_pitches(const SpectralConv& params);

// Returns the same sizes with the smallest tile, for the checks that all convolutions share.
SpectralConv with_smallest_tile(const DirectConv& params);

// Returns whether there are no outputs: no images, no cells or no output channels.
bool is_empty(const SpectralConv& params);

// Returns the first place in the workspace that begins a cache line; a workspace has kBlock extra floats for this.
float* aligned(float* workspace);

// Asks for large pages for memory before its first write: weights stream at 27 GB/s through 4 KB pages, and at 35
// through large ones.
void advise_large_pages(float* memory, int64_t floats);

Split make_split(const SpectralConv& params, int64_t chunk_images, int64_t chunk_down, int64_t chunk_blocks,
                 int threads);

// Returns the split with the largest chunks for which floats(split) stays within the budget: fewer images, then fewer
// rows of tiles, then fewer output channels.
template <typename Floats>
Split fit_split(const SpectralConv& params, int64_t budget, int threads, Floats floats) {
    const int64_t limit = budget / static_cast<int64_t>(sizeof(float)), blocks = blocks_of(params.outputs);
    Split split = make_split(params, params.images, -1, blocks, threads);
    const int64_t down = split.down.tiles;
    const auto fits = [&] { return floats(split) <= limit; };
    for (int64_t parts = 2; !fits() && split.chunk_images > 1; ++parts) {
        split = make_split(params, (params.images + parts - 1) / parts, down, blocks, threads);
    }
    for (int64_t parts = 2; !fits() && split.chunk_down > 1; ++parts) {
        split = make_split(params, 1, (down + parts - 1) / parts, blocks, threads);
    }
    for (int64_t parts = 2; !fits() && split.chunk_blocks > 1; ++parts) {
        split = make_split(params, 1, 1, (blocks + parts - 1) / parts, threads);
    }
    return split;
}

// Runs all units by stage(i, member, place, unit, i-th tasks' begin, end). While there is a unit for each member of the
// team, a member runs all stages of a unit alone, in its own place; the team runs the remaining units, fewer than
// members, together, stage by stage, in the first places.
template <typename Tasks, typename Stage>
void share_units(int team, int64_t units, int stages, const Tasks& tasks, const Stage& stage) {
    const int64_t alone = units / team * team;
    threads::parallel(team, alone, [&](int member, int64_t unit) {
        for (int i = 0; i < stages; ++i) stage(i, member, member, unit, 0, tasks(i, unit));
    });
    for (int i = 0; alone < units && i < stages; ++i) {
        const int64_t pieces = int64_t{team} * threads::kPiecesPerMember;
        threads::parallel(team, (units - alone) * pieces, [&](int member, int64_t index) {
            const int64_t slot = index % (units - alone), piece = index / (units - alone);
            const int64_t count = tasks(i, alone + slot);
            const int64_t begin = count * piece / pieces, end = count * (piece + 1) / pieces;
            if (begin < end) stage(i, member, static_cast<int>(slot), alone + slot, begin, end);
        });
    }
}

}  // namespace cpm::spectral

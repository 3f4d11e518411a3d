#include "split.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cpm/sizes.h"

namespace cpm {
namespace {

constexpr int kTiles[] = {16, 20, 22, 24, 32, 36, 48, 54, 64, 0};

}  // namespace

const int* spectral_tiles() { return kTiles; }

int64_t spectra_floats(int64_t outputs, int64_t inputs, int kernel, int tile) {
    return element_count({tile / 2, spectral::blocks_of(outputs), inputs, kernel, spectral::kComplex});
}

namespace spectral {
namespace {

// One tile takes a whole axis if its zeros reach around: circularly, the right border is also the left one.
Axis make_axis(int64_t cells, int kernel, int tile) {
    const int64_t radius = kernel / 2;
    if (cells + radius <= tile) return {cells, 1, cells, 0};
    const int64_t step = tile - 2 * radius;
    return {cells, (cells + step - 1) / step, step, radius};
}

void check_kernel(int kernel, int tile) {
    if (kernel < 1 || kernel > kMaxKernel || kernel % 2 == 0) {
        throw std::invalid_argument("kernel must be odd and at most 15, got " + std::to_string(kernel));
    }
    if (tile == 0 || std::find(kTiles, std::end(kTiles), tile) == std::end(kTiles)) {
        throw std::invalid_argument("tile must be one of spectral_tiles, got " + std::to_string(tile));
    }
}

void check_pitch(int64_t pitch, int64_t channels) {
    if (pitch != 0 && pitch < channels) {
        throw std::invalid_argument("pitch must be at least the channels, " + std::to_string(channels) + ", got " +
                                    std::to_string(pitch));
    }
}

}  // namespace

void check_windows(int side, int padding, const SpectralConv& params) {
    const bool padded = padding == 1 && side == 3, known = side == 0 || side == 2 || side == 3;
    if (!known || (padding != 0 && !padded)) {
        throw std::invalid_argument("pool must be 2 or 3 with no padding, or 3 with 1, got " + std::to_string(side) +
                                    " with " + std::to_string(padding));
    }
    if (side != 0 && (params.height % 2 != 0 || params.width % 2 != 0)) {
        throw std::invalid_argument("height and width must be even with pool");
    }
}

SpectralConv with_pitches(const SpectralConv& params) {
    SpectralConv full = params;
    if (full.x_pitch == 0) full.x_pitch = full.inputs;
    if (full.out_pitch == 0) full.out_pitch = full.outputs;
    return full;
}

SpectralConv with_smallest_tile(const DirectConv& params) {
    return {params.images, params.height, params.width, params.inputs, params.outputs, params.kernel,
            kTiles[0], params.x_pitch, params.out_pitch, params.pool, params.pool_padding};
}

void check_sizes(const SpectralConv& params) {
    check_kernel(params.kernel, params.tile);
    check_windows(params.pool, params.pool_padding, params);
    check_pitch(params.x_pitch, params.inputs);
    check_pitch(params.out_pitch, params.outputs);
    for (const int64_t pitch : {params.x_pitch, params.out_pitch}) {
        element_count({params.images, params.height, params.width, pitch});
    }
    // Channels come in blocks, rows and columns in tiles, each up to 64 times larger, and triples of floats.
    for (const int64_t channels : {params.inputs, params.outputs}) {
        element_count({params.images, params.height, params.width, channels, 16});
        element_count({params.images, params.height + kMaxTile, params.width + kMaxTile, channels + kBlock, 4096});
    }
    element_count({params.inputs, params.outputs});
    element_count({int64_t{kMaxTile} * kMaxTile, params.inputs + kBlock, params.outputs + kBlock, 16});
}

bool is_empty(const SpectralConv& params) {
    return element_count({params.images, params.height, params.width, params.outputs}) == 0;
}

float* aligned(float* workspace) {
    const auto address = reinterpret_cast<std::uintptr_t>(workspace);
    return workspace + (64 - address % 64) % 64 / sizeof(float);
}

void advise_large_pages([[maybe_unused]] float* memory, [[maybe_unused]] int64_t floats) {
#if defined(__linux__)
    constexpr std::uintptr_t page = std::uintptr_t{2} << 20;
    const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(memory + floats) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

int64_t Split::chunk_count() const {
    const int64_t parts = (down.tiles + chunk_down - 1) / chunk_down;
    return (params.images + chunk_images - 1) / chunk_images * parts;
}

Chunk Split::chunk(int64_t index) const {
    const int64_t parts = (down.tiles + chunk_down - 1) / chunk_down;
    Chunk chunk{};
    chunk.first_image = index / parts * chunk_images;
    chunk.images = std::min(chunk_images, params.images - chunk.first_image);
    chunk.first_down = index % parts * chunk_down;
    chunk.tiles_down = std::min(chunk_down, down.tiles - chunk.first_down);
    const int64_t start = chunk.first_down * down.step, last = start + (chunk.tiles_down - 1) * down.step;
    // Both ends are even, because rows are transformed in pairs: with the same pairs in every chunk, bits do not depend
    // on chunks.
    chunk.first_row = std::max<int64_t>(0, start - down.first) / 2 * 2;
    chunk.rows = std::min(params.height, (last - down.first + params.tile + 1) / 2 * 2) - chunk.first_row;
    chunk.first_output = start;
    chunk.outputs = std::min(params.height, last + down.step) - start;
    return chunk;
}

int64_t Split::input_rows() const {
    return std::min(params.height, (chunk_down - 1) * down.step + params.tile + 2 * (down.first % 2));
}

int64_t Split::output_rows() const { return std::min(params.height, chunk_down * down.step); }

Side Split::side(int64_t channels, int width, int64_t rows) const {
    const int64_t blocks = blocks_of(channels);
    return {blocks, width, rows, odd_lines(chunk_images * across.tiles * blocks * rows * kComplex),
            odd_lines(tiles * blocks * width)};
}

Split make_split(const SpectralConv& params, int64_t chunk_images, int64_t chunk_down, int64_t chunk_blocks,
                 int threads) {
    Split split{params, make_axis(params.height, params.kernel, params.tile),
                make_axis(params.width, params.kernel, params.tile), std::max(threads, 1), chunk_images, chunk_down,
                chunk_blocks, 0};
    if (chunk_down < 0) split.chunk_down = split.down.tiles;
    split.tiles = split.chunk_images * split.chunk_down * split.across.tiles;
    return split;
}

}  // namespace spectral
}  // namespace cpm

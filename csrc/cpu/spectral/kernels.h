// The vector code of the spectral convolution, one table of functions for each instruction set; spectral_conv.cpp and
// weight_gradient.cpp call them over ranges of tasks, so this code does not depend on threads.
//
// A block is 16 channels, whatever the vector width. A complex block is re[16] im[16]; a triple adds re + im, which the
// three-multiplication product needs; 16 pairs are re and im of each channel as bfloat16, a word of 32 bits. The half
// spectrum of a t x t tile has t/2 units, one for a column of frequencies: unit u > 0 is column u, t complex numbers;
// unit 0 holds the columns 0 and t/2, whose x transforms are real, as real and imaginary part, and has t/2 + 1
// frequencies of each.
#pragma once

#include <cstdint>

#include "cpm/spectral_conv.h"

namespace cpm::spectral {

constexpr int kBlock = 16;
constexpr int kComplex = 2 * kBlock;
constexpr int kTriple = 3 * kBlock;
constexpr int kPairs = kBlock;
constexpr int kMaxTile = 64;
constexpr int kMaxKernel = 15;

inline int64_t blocks_of(int64_t channels) { return (channels + kBlock - 1) / kBlock; }
inline int64_t unit_frequencies(int tile, int64_t unit) { return unit == 0 ? tile + 2 : tile; }

// Frequencies of a unit are made in fours, t/4 + 1 of them: for k from 0 to t/4 those at k, -k, t/2 - k and t/2 + k; in
// unit 0 those at k of column 0, at k of column t/2, and at t/2 - k of both. A few are made twice: in the four of k = 0
// the second and fourth are the first and third again, except in unit 0; in that of k = t/4 the last two are the first
// two.
inline int unit_quads(int tile) { return tile / 4 + 1; }

// The frequency of the unit that corresponds to -k; in unit 0, that of column t/2.
constexpr int64_t second_of(int tile, int64_t unit, int64_t k) {
    return unit == 0 ? tile / 2 + 1 + k : (tile - k) % tile;
}

// The places of the i-th frequencies of the fours from `first` to `last` in the unit: that of the first four, and the
// step from four to four. The first `skipped` fours are left out and `count` are used, so that no frequency occurs
// twice.
struct QuadRun {
    int64_t frequency, step, skipped, count;
};

inline QuadRun quad_run(int tile, int64_t unit, int i, int64_t first, int64_t last) {
    const bool second = i % 2 == 1, far = i >= 2;
    const int64_t half = tile / 2, skipped = second && unit > 0 && first == 0 ? 1 : 0;
    const int64_t end = far && 4 * (last - 1) == tile ? last - 1 : last, k = first + skipped;
    const int64_t at = far ? half - k : k, step = far ? -1 : 1;
    if (!second) return {at, step, skipped, end - k};
    return {unit == 0 ? half + 1 + at : tile - at, unit == 0 ? step : -step, skipped, end - k};
}

// The tiles along an axis: the first output of tile i is cell i * step, which is its local cell `first`.
struct Axis {
    int64_t cells, tiles, step, first;
};

// Whether a tile uses all cells it covers (overlap-save), or only its outputs, with zeros around them.
enum class Cover { all, outputs };

// Rows of a chunk after the x transform: [t/2 units][images][tiles across][blocks][rows][complex block].
struct Strips {
    float* data;
    int64_t unit_step;
    int64_t images, tiles, blocks, rows;
    int64_t first_row;  // of the image
};

// Tiles of one unit after the y transform: [frequencies][images][tiles across][tiles down][blocks][triple, complex or
// pairs].
struct UnitSpectra {
    float* data;
    int64_t frequency_step;
    int64_t first_down, tiles_down;  // of the image's tiles, those in the chunk
};

struct ReadRows {
    const float* x;  // [images, h, w, channels], the first image of the chunk; [images, h/2, w/2, channels] with windows
    Gate gate;
    int64_t height, channels;
    int64_t pitch;  // floats from a cell to the next
    Axis across;
    Cover cover;
    int tile;
    Strips strips;  // written
};

struct WriteRows {
    Strips strips;
    const float* bias;  // [channels], or null
    bool relu;
    unsigned char* broken;  // [images], set where an output is not finite before ReLU
    float* out;  // [images, h, w, channels], the first image of the chunk; with pool [images, h/2, w/2, channels]
    int64_t height, channels;
    int64_t pitch;        // floats from a cell to the next
    int64_t first_block;  // of the channels, those in the strips
    Axis across;
    int tile;
    bool stream = false;  // with pool, past the caches, where whole lines of cache are written
};

// A maximum pool after the convolution: windows of `side` cells, two apart, the first of which begins `padding` cells
// before the map. Tasks run over images, bands of windows' rows, blocks.
struct Pool {
    int side, padding;
    int64_t bands;
    float* pair;  // two rows of a block, [2, w, 16], owned by the caller
    unsigned char* places = nullptr;  // like the output, written: see spectral_conv_cpu; null: none
};

struct Columns {
    Strips strips;  // read by columns_forward, written by columns_inverse
    int64_t unit;
    UnitSpectra spectra;
    Axis down;
    Cover cover;
    int tile;
};

// One complex matrix product a frequency: y[row] = sum over k of a[row, k] b[k], or of a conj(b).
struct Product {
    const float* a;  // triples, or pairs; lane l of a row's block n is at row * a_row + n * a_block + l * a_lane
    int64_t a_frequency, a_row, a_block, a_lane;
    const float* b;  // complex blocks, or pairs
    int64_t b_frequency, b_column, b_k;
    float* y;  // complex blocks
    int64_t y_frequency, y_row, y_column;
    int64_t rows, inner, lanes, columns;  // lanes: how many k in a block
    bool conjugate;  // not with pairs
    // Floats to prefetch into the cache meanwhile; not with `conjugate`.
    const float* ahead = nullptr;
    int64_t ahead_floats = 0;
};

struct Weights {
    const float* weight;  // [outputs, inputs, k, k]
    float* spectra;       // [t/2 units, blocks of outputs, inputs, k rows, complex block]
    int64_t outputs, inputs;
    int kernel, tile;
    bool adjoint;  // spectra of the convolution that takes a gradient of the output to one of the input
};

// The y transform of a unit's weights: some of its fours of frequencies.
struct WeightColumns {
    const void* spectra;   // of the unit, its first block: [blocks, inputs, k rows, complex block]
    bool bf16;             // whether they are bfloat16, not floats
    float* columns;        // [4, fours, blocks, inputs, complex block or pairs], written: of all the first, then the
                           // second ...
    int64_t column_step;   // from a frequency to the next
    int64_t unit, first_quad, quads;
    int kernel, tile;
};

// A step of the weight's gradient: some of a unit's spectra to k rows, added to the earlier sums unless it is the first.
struct GradientColumns {
    const float* spectra;  // [frequencies, blocks of outputs, 16 inputs, complex block]
    int64_t frequency_step;
    float* rows;         // of the first output and input: [blocks of outputs, inputs, k, complex block]
    int64_t block_step;  // from a block of outputs to the next
    int64_t unit, blocks, inputs;
    int kernel, tile;
    bool first_time;
};

struct GradientRows {
    const float* rows;  // [units, blocks of outputs, inputs, k, complex block]
    float* weight;      // [outputs, inputs, k, k], written
    int64_t outputs, inputs;
    int kernel, tile;
};

// The magnitudes of maps, block of side x side cells by block, all channels of a block together.
struct Ranges {
    const float* x;  // [images, h, w, channels], a cell every `pitch` floats; [images, h/2, w/2, channels] with windows
    Gate gate;
    int64_t height, width, channels, pitch, side;
    // [tasks], written: the bits of the largest magnitude in a row of blocks, and of the least of the blocks' largest that
    // are not 0, or of NaN if there is none.
    int32_t *largest, *smallest;
};

// A convolution by plain sums, of floats or of bfloat16.
struct Direct {
    const float* x;       // [images, h, w, inputs]
    const void* weights;  // [blocks of outputs, k, k, inputs, 16], or [.., half the inputs, 16, 2] of bfloat16
    const float* bias;    // [blocks of outputs, 16]
    float* out;           // [images, h, w, outputs]; with pool [images, h/2, w/2, outputs]
    int64_t images, height, width, inputs, outputs;
    int kernel;
    bool relu;
    int64_t x_pitch, out_pitch;
    float* rows;  // direct_row_floats, owned by the caller
    Pool pool;    // pair: [blocks of outputs, 2, w, 16]; side 0: none
};

// Consecutive rows of tiles of a 3x3 convolution by minimal filtering; see winograd.h.
struct Winograd {
    const float* x;       // [images, h, w, inputs]
    const void* weights;  // [36, blocks of outputs, inputs, 16], or [.., half the inputs, 16, 2] of bfloat16
    const float* bias;    // [blocks of outputs, 16]
    const float* zeros;   // likewise
    float* out;           // [images, h, w, outputs]; with pool [images, h/2, w/2, outputs]
    unsigned char* broken;  // [images], set where sums are not finite
    int64_t height, width, inputs, outputs, x_pitch, out_pitch;
    bool relu, pool;
    int64_t first_row, rows, across;  // of tiles, counted over all images; tiles of a row
    float *values, *products;         // [36, rows, across, channels], owned by the caller
    int64_t value_step, product_step;
};

// The type of the maps of a batch normalization.
enum NormMaps { kFloatMaps, kBfloat16Maps };

// A chunk of a batch normalization, or of its gradient.
struct NormTerms {
    const float *factor, *offset, *mean;  // [channels]
    const float *slope, *shift;           // of the gradient
};

struct NormChunk {
    const void *x, *dy;  // [cells, channels]; dy of the gradient
    void* y;             // [cells, channels], written by the passes that write: y, or dx
    int64_t cells, channels;
    bool relu;
    NormTerms terms;
    double *first, *second;  // [channels], written by the passes that sum
};

// Some windows of 2 x 2 cells, side by side, of a batch normalization before a maximum pool, or of its gradient.
struct NormWindows {
    const void* x;   // [2 rows, cells, channels]
    const void* dy;  // [windows, channels], of the gradient
    void* y;         // written by the passes that write: [windows, channels], or dx like x
    int64_t windows, channels;
    int64_t x_pitch, x_row, y_pitch;  // values from a cell to the next; from a row to the next; from a window to the next
    bool relu;
    NormTerms terms;
    double *first, *second;  // as above
    unsigned char* places;   // [windows, channels] like y: of the largest cell, 1 to 4, or 0 where the ReLU is closed
};

// Two rows of cells of a 3x3 convolution of few inputs, for a block of outputs.
struct NarrowRows {
    const float* patch;    // [4 rows, cells + 2, inputs], zeros around the image
    const float* weights;  // [3 rows, 3 columns, inputs, 16]
    const float* bias;     // [16]
    float* map;            // [2 rows, cells, 16]: written, or the gradient in it
    double* dweight;       // like weights: narrow_gradient adds to it
    int64_t cells, inputs;
};

// Two rows of a map, whose products are summed by the distance of the two values.
struct RowPair {
    const double *a, *b;  // a: zeros behind the values; b: from the least distance on
    double* sums;         // [distances, inputs * lanes / 2], added to: those of one place have the same input in a
    int64_t values, inputs, distances;
};

// Complex DFT of one block's vector; `step` in floats from one element to the next. The inverse, unscaled, is the same
// function with real and imaginary parts swapped on both sides. In place is allowed where the steps are equal.
using Dft = void (*)(const float* re, const float* im, int64_t step, float* out_re, float* out_im, int64_t out_step);

struct Kernels {
    const char* name;
    int lanes;
    Dft (*dft)(int tile);  // null where there is no such tile
    void (*read_rows)(const ReadRows&, int64_t begin, int64_t end);              // tasks: row_tasks(strips)
    // The first of each two is for weights of floats, the second for weights of bfloat16.
    int left_floats[2], weight_floats[2];  // of a block of maps: triple or pairs; of weights: complex block or pairs
    void (*columns_forward[2])(const Columns&, int64_t begin, int64_t end);      // tasks: column_tasks
    void (*multiply[2])(const Product&, int64_t begin, int64_t end);             // tasks: frequencies
    void (*columns_inverse)(const Columns&, int64_t begin, int64_t end);         // tasks: column_tasks
    void (*write_rows)(const WriteRows&, int64_t begin, int64_t end);            // tasks: row_tasks(strips)
    void (*write_pooled)(const WriteRows&, const Pool&, int64_t begin, int64_t end);  // tasks: pool_tasks
    void (*transform_weight)(const Weights&, int64_t begin, int64_t end);        // tasks: blocks of outputs x inputs
    void (*weight_columns[2])(const WeightColumns&, int64_t begin, int64_t end);  // likewise
    void (*gradient_columns)(const GradientColumns&);
    void (*gradient_rows)(const GradientRows&, int64_t begin, int64_t end);      // likewise
    // Likewise of plain sums.
    void (*direct_cells[2])(const Direct&, int64_t begin, int64_t end);  // tasks: chunks of cells
    void (*direct_rows[2])(const Direct&, int64_t begin, int64_t end);   // tasks: rows, or rows of windows
    void (*winograd_read[2])(const Winograd&, int64_t begin, int64_t end);      // tasks: rows x blocks of inputs
    void (*winograd_multiply[2])(const Winograd&, int64_t begin, int64_t end);  // tasks: 36 products
    void (*winograd_write)(const Winograd&, int64_t begin, int64_t end);        // tasks: rows x blocks of outputs
    // By NormMaps.
    void (*norm_sums[2])(const NormChunk&);           // means, and sums of squared distances from them
    void (*norm_write[2])(const NormChunk&);
    void (*norm_gradient_sums[2])(const NormChunk&);  // of the gradient, and of its product with x - mean
    void (*norm_gradient_write[2])(const NormChunk&);
    void (*norm_pool_write[2])(const NormWindows&);
    void (*norm_pool_gradient_sums[2])(const NormWindows&);
    void (*norm_pool_gradient_write[2])(const NormWindows&);
    // These take a map of floats and keep the places of maxima; by the type of y.
    void (*norm_pool_places[2])(const NormWindows&);           // as norm_pool_write with ReLU; writes places
    void (*norm_pool_gradient_places[2])(const NormWindows&);  // the normalized values' gradient; adds its sums to `first`
    void (*narrow_conv)(const NarrowRows&);
    void (*narrow_gradient)(const NarrowRows&);
    void (*narrow_products)(const RowPair&);
    void (*find_ranges)(const Ranges&, int64_t begin, int64_t end);   // tasks: rows of blocks, of all images
    uint64_t (*checksum)(const unsigned char* from, int64_t bytes, uint64_t seed);
};

// Cells of a 1x1 convolution that use all its weights while those are in cache.
constexpr int64_t kCellChunk = 64;

// Floats of the padded rows of a plain sum, or of the cells of a 1x1 convolution of bfloat16.
inline int64_t direct_row_floats(int64_t width, int64_t inputs, int kernel, bool plain, bool bf16) {
    const int64_t cell_floats = bf16 ? (inputs + 1) / 2 * 2 : inputs;
    if (plain) return bf16 ? kCellChunk * cell_floats : 0;
    return kernel * (width + kernel - 1) * cell_floats;
}

// Rows are processed in bands, whose cells stay in cache while all blocks of channels are read from them.
constexpr int64_t kBandRows = 16;
inline int64_t bands_of(const Strips& strips) { return (strips.rows + kBandRows - 1) / kBandRows; }
inline int64_t row_tasks(const Strips& strips) {
    return strips.images * bands_of(strips) * strips.tiles * strips.blocks;
}
inline int64_t pool_tasks(const Strips& strips, const Pool& pool) {
    return strips.images * pool.bands * strips.blocks;
}
inline int64_t column_tasks(const Strips& strips, const UnitSpectra& spectra) {
    return strips.images * strips.tiles * spectra.tiles_down * strips.blocks;
}

// The compiled tables; null for one that this machine cannot run.
const Kernels* avx512_bf16_kernels();
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* portable_kernels();

// The table in use: the widest, unless use_simd or CPM_FAST_SIMD chose another.
const Kernels& kernels();

}  // namespace cpm::spectral

// Plain sums over registers: R cells of a row x V vectors of outputs are summed over all taps and inputs, each weight
// read once for R cells, each input broadcast to V vectors.
//
//     x rows, padded [k, w + k - 1, C]  (a ring: the next row of outputs needs one more)
//                  \  sum over dy, dx, c: x[px + dx, c] * weights[block, dy, dx, c, 16]  ->  out [R cells, V vectors]
//
// Expected: a multiply-add of a vector a cycle, 116 GFLOP/s a core at 3.6 GHz with AVX-512 on an EPYC 9004; weights of
// the layers that this is for (a few hundred KB) stream from the second cache at 8 bytes a cycle.
#pragma once

#include "pool.h"
#include "products.h"

namespace cpm::spectral {
namespace {

#if defined(__AVX512F__)
constexpr int kDirectCells = 8, kDirectBlocks = 3;  // 24 sums, 3 weights
#elif defined(__AVX2__)
constexpr int kDirectCells = 6, kDirectBlocks = 1;  // 12 sums, 2 weights, a broadcast
#else
constexpr int kDirectCells = 2, kDirectBlocks = 1;
#endif
constexpr int kBlockVectors = kBlock / kLanes;

// Whether registers hold the weights of three taps beside the sums.
template <typename Form, int B>
constexpr bool kByColumns = kLanes == kBlock && Form::kParts == 1 && B <= 2;
constexpr int64_t kFewInputs = 8, kColors = 3;

// The place of a block's results: the 16 channels of cell i are at data + i * pitch.
struct Target {
    float* data;
    int64_t pitch, channels;
};

// Adds the sums of R cells, in the order of taps.
template <typename Form, int R, int V>
CPM_INLINE void add_taps(const Direct& job, const float* const* rows, int64_t cell, int64_t cell_step,
                         int64_t first_block, Vector (&sums)[V][R]) {
    const int64_t words = Form::words(job.inputs), block_words = job.kernel * job.kernel * words * kBlock;
    const float* weights = static_cast<const float*>(job.weights) + first_block * block_words;
    for (int dy = 0; dy < job.kernel; ++dy) {
        const float* from = rows[dy] + cell * cell_step;
        for (int dx = 0; dx < job.kernel; ++dx, from += cell_step) {
            for (int64_t word = 0; word < words; ++word, weights += kBlock) {
                unroll<Form::kParts>([&](auto part) CPM_INLINE_LAMBDA {
                    decltype(Form::template weight<part>(weights)) weight[V];
                    unroll<V>([&](auto v) CPM_INLINE_LAMBDA {
                        const int64_t place = v / kBlockVectors * block_words + v % kBlockVectors * kLanes;
                        weight[v] = Form::template weight<part>(weights + place);
                    });
                    unroll<R>([&](auto r) CPM_INLINE_LAMBDA {
                        const auto value = Form::template value<part>(from + r * cell_step, word);
                        unroll<V>([&](auto v) CPM_INLINE_LAMBDA { Form::add(sums[v][r], weight[v], value); });
                    });
                });
            }
        }
    }
}

// The same for a 3x3 kernel and few inputs: a row's taps are added column by column, so each input is broadcast once for
// the three cells that read it. With one block, an input for each product takes longer than the products.
template <typename Form, int R, int V>
CPM_INLINE void add_three(const Direct& job, const float* const* rows, int64_t cell, int64_t cell_step,
                          int64_t first_block, Vector (&sums)[V][R]) {
    const int64_t words = Form::words(job.inputs), block_words = 9 * words * kBlock;
    const float* weights = static_cast<const float*>(job.weights) + first_block * block_words;
    for (int dy = 0; dy < 3; ++dy, weights += 3 * words * kBlock) {
        const float* from = rows[dy] + cell * cell_step;
        for (int64_t word = 0; word < words; ++word) {
            decltype(Form::template weight<0>(weights)) weight[3][V];
            unroll<3>([&](auto dx) CPM_INLINE_LAMBDA {
                unroll<V>([&](auto v) CPM_INLINE_LAMBDA {
                    const int64_t place = v / kBlockVectors * block_words + v % kBlockVectors * kLanes;
                    weight[dx][v] = Form::template weight<0>(weights + (dx * words + word) * kBlock + place);
                });
            });
            unroll<R + 2>([&](auto column) CPM_INLINE_LAMBDA {
                const auto value = Form::template value<0>(from + column * cell_step, word);
                unroll<3>([&](auto dx) CPM_INLINE_LAMBDA {
                    constexpr int r = column - dx;
                    if constexpr (r >= 0 && r < R) {
                        unroll<V>([&](auto v) CPM_INLINE_LAMBDA { Form::add(sums[v][r], weight[dx][v], value); });
                    }
                });
            });
        }
    }
}

template <typename Form, int R, int B>
void sum_cells(const Direct& job, const float* const* rows, int64_t cell, int64_t cell_step, int64_t first_block,
               const Target* targets) {
    constexpr int V = B * kBlockVectors;
    Vector sums[V][R];
    unroll<V>([&](auto v) CPM_INLINE_LAMBDA { unroll<R>([&](auto r) CPM_INLINE_LAMBDA { sums[v][r] = Vector{}; }); });
    if (kByColumns<Form, B> && job.kernel == 3 && job.inputs <= kFewInputs) {
        add_three<Form, R>(job, rows, cell, cell_step, first_block, sums);
    } else {
        add_taps<Form, R>(job, rows, cell, cell_step, first_block, sums);
    }
    const float floor = job.relu ? 0.0f : kLowest;
    unroll<B>([&](auto b) CPM_INLINE_LAMBDA {
        const Target& target = targets[b];
        const float* bias = job.bias + (first_block + b) * kBlock;
        if (target.channels == kBlock) {
            unroll<kBlockVectors>([&](auto v) CPM_INLINE_LAMBDA {
                const Vector offset = load(bias + v * kLanes);
                unroll<R>([&](auto r) CPM_INLINE_LAMBDA {
                    const Vector value = sums[b * kBlockVectors + v][r] + offset;
                    store(target.data + (cell + r) * target.pitch + v * kLanes, at_least(value, floor));
                });
            });
        } else {
            unroll<R>([&](auto r) CPM_INLINE_LAMBDA {
                alignas(64) float staged[kBlock];
                unroll<kBlockVectors>([&](auto v) CPM_INLINE_LAMBDA {
                    store(staged + v * kLanes, sums[b * kBlockVectors + v][r]);
                });
                for (int64_t lane = 0; lane < target.channels; ++lane) {
                    const float value = staged[lane] + bias[lane];
                    target.data[(cell + r) * target.pitch + lane] = value < floor ? floor : value;
                }
            });
        }
    });
}

// The last group of cells overlaps the one before it; the shared cells get the same results again.
template <typename Form, int B>
void sum_row(const Direct& job, const float* const* rows, int64_t cells, int64_t cell_step, int64_t first_block,
             const Target* targets) {
    if (cells < kDirectCells) {
        for (int64_t cell = 0; cell < cells; ++cell) sum_cells<Form, 1, B>(job, rows, cell, cell_step, first_block, targets);
        return;
    }
    for (int64_t cell = 0; cell < cells; cell += kDirectCells) {
        sum_cells<Form, kDirectCells, B>(job, rows, least(cell, cells - kDirectCells), cell_step, first_block, targets);
    }
}

// Computes all outputs of a row of cells. target_of(block) is the place of its results.
template <typename Form, typename TargetOf>
void sum_blocks(const Direct& job, const float* const* rows, int64_t cells, int64_t cell_step, TargetOf target_of) {
    const int64_t blocks = blocks_of(job.outputs), groups = (blocks + kDirectBlocks - 1) / kDirectBlocks;
    for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = blocks * group / groups, count = blocks * (group + 1) / groups - first;
        Target targets[kDirectBlocks];
        for (int64_t i = 0; i < count; ++i) targets[i] = target_of(first + i);
        if constexpr (kDirectBlocks == 3) {
            if (count == 3) sum_row<Form, 3>(job, rows, cells, cell_step, first, targets);
            if (count == 2) sum_row<Form, 2>(job, rows, cells, cell_step, first, targets);
        }
        if (count == 1) sum_row<Form, 1>(job, rows, cells, cell_step, first, targets);
    }
}

// Spreads the numbers of colored pictures, whose cells lie side by side, with a gap after each cell.
template <typename Number>
CPM_INLINE void spread_colors(const Number* from, int64_t cells, Number* to) {
    for (int64_t cell = 0; cell < cells; ++cell, from += kColors, to += kColors + 1) {
        unroll<kColors>([&](auto i) CPM_INLINE_LAMBDA { to[i] = from[i]; });
        to[kColors] = Number{};
    }
}

template <typename Form>
CPM_INLINE void copy_cells(const float* from, int64_t cells, int64_t inputs, int64_t pitch, float* to) {
    const int64_t cell_floats = Form::cell_floats(inputs);
    // A cell of bfloat16 has a gap after an odd number of inputs.
    const bool gaps = !Form::kInPlace && inputs % 2 == 1;
    if (pitch == inputs && !gaps) return Form::copy(from, cells * inputs, to);
    if (pitch != inputs || inputs != kColors) {
        for (int64_t cell = 0; cell < cells; ++cell) Form::copy(from + cell * pitch, inputs, to + cell * cell_floats);
        return;
    }
    constexpr int64_t kCells = 64;
    alignas(64) typename Form::Number staged[kCells * kColors];
    for (int64_t cell = 0; cell < cells; cell += kCells) {
        const int64_t count = least(kCells, cells - cell);
        Form::copy(from + cell * kColors, count * kColors, reinterpret_cast<float*>(staged));
        spread_colors(staged, count, reinterpret_cast<typename Form::Number*>(to + cell * cell_floats));
    }
}

CPM_INLINE Target output(const Direct& job, int64_t cell, int64_t block) {
    return {job.out + cell * job.out_pitch + block * kBlock, job.out_pitch, least(kBlock, job.outputs - block * kBlock)};
}

// A 1x1 convolution reads no neighbors, so chunks of cells need not follow rows.
template <typename Form>
void direct_cells(const Direct& job, int64_t begin, int64_t end) {
    const int64_t all = job.images * job.height * job.width;
    for (int64_t task = begin; task < end; ++task) {
        const int64_t cell = task * kCellChunk, cells = least(kCellChunk, all - cell);
        const float* row = job.x + cell * job.x_pitch;
        int64_t cell_step = job.x_pitch;
        if (!Form::kInPlace) {
            cell_step = Form::cell_floats(job.inputs);
            copy_cells<Form>(row, cells, job.inputs, job.x_pitch, job.rows);
            row = job.rows;
        }
        sum_blocks<Form>(job, &row, cells, cell_step, [&](int64_t block) { return output(job, cell, block); });
    }
}

// The padded rows that an output row reads, in a ring that keeps those which the next output row reads too.
template <typename Form>
struct PaddedRows {
    const Direct& job;
    int64_t image, cell_floats, row_floats, first = 0, last = 0;  // held: [first, last)
    const float* rows[kMaxKernel];

    PaddedRows(const Direct& direct, int64_t of_image)
        : job(direct), image(of_image), cell_floats(Form::cell_floats(direct.inputs)),
          row_floats((direct.width + direct.kernel - 1) * cell_floats) {}

    float* slot(int64_t row) const { return job.rows + (row + kMaxKernel) % job.kernel * row_floats; }

    void fill(int64_t row) {
        float* to = slot(row);
        if (row_floats == 0) return;
        if (row < 0 || row >= job.height) {
            memset(to, 0, row_floats * sizeof(float));
            return;
        }
        const int64_t edge = job.kernel / 2 * cell_floats;
        memset(to, 0, edge * sizeof(float));
        memset(to + row_floats - edge, 0, edge * sizeof(float));
        const float* from = job.x + (image * job.height + row) * job.width * job.x_pitch;
        copy_cells<Form>(from, job.width, job.inputs, job.x_pitch, to + edge);
    }

    // Returns the rows around an output row, which may be the one after the last or any other.
    const float* const* about(int64_t row) {
        const int64_t radius = job.kernel / 2, begin = row - radius, end = row + radius + 1;
        for (int64_t each = begin < last && begin >= first ? last : begin; each < end; ++each) fill(each);
        first = begin;
        last = end;
        for (int i = 0; i < job.kernel; ++i) rows[i] = slot(begin + i);
        return rows;
    }
};

// Tasks: rows of all images, or of all their windows.
template <typename Form>
void direct_rows(const Direct& job, int64_t begin, int64_t end) {
    const int64_t rows = job.pool.side == 0 ? job.height : job.height / 2;
    const int64_t row_step = job.width / 2 * job.out_pitch;
    while (begin < end) {
        const int64_t image = begin / rows, from = begin % rows, to = least(rows, from + end - begin);
        begin += to - from;
        PaddedRows<Form> padded(job, image);
        if (job.pool.side == 0) {
            for (int64_t row = from; row < to; ++row) {
                sum_blocks<Form>(job, padded.about(row), job.width, padded.cell_floats, [&](int64_t block) {
                    return output(job, (image * job.height + row) * job.width, block);
                });
            }
            continue;
        }
        const Windows windows{job.pool, from, to, most(0, 2 * from - job.pool.padding),
                              least(job.height, 2 * (to - 1) - job.pool.padding + job.pool.side), job.width};
        const int64_t half_floats = job.width * kBlock;
        for (int64_t row = windows.rows_begin / 2 * 2; row < windows.rows_end; row += 2) {
            for (int64_t half = 0; half < 2; ++half) {
                if (row + half < windows.rows_begin || row + half >= windows.rows_end) continue;
                sum_blocks<Form>(job, padded.about(row + half), job.width, padded.cell_floats, [&](int64_t block) -> Target {
                    return {job.pool.pair + (2 * block + half) * half_floats, kBlock,
                            least(kBlock, job.outputs - block * kBlock)};
                });
            }
            for (int64_t block = 0; block < blocks_of(job.outputs); ++block) {
                pool_pair(windows, job.pool.pair + 2 * block * half_floats, row,
                          least(kBlock, job.outputs - block * kBlock), job.out_pitch, row_step,
                          job.out + image * rows * row_step + block * kBlock);
            }
        }
    }
}

}  // namespace
}  // namespace cpm::spectral

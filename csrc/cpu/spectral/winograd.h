// Winograd's minimal filtering F(4x4, 3x3): a tile of 6 x 6 cells is transformed, multiplied with the transformed weight
// product by product, and transformed back to 4 x 4 outputs.
//
//     x, 6 x 6 cells -> values [36, tiles, C]  x  weights [36, C, O]  ->  products [36, tiles, O] -> 4 x 4 outputs
//
// A polynomial of degree 5 is known by its values at 0, +-a, +-b and infinity. With a = sqrt(1/2) and b = sqrt(2) the
// factors are small and near one another in size: errors are 1.2 to 1.3 times those of plain sums, where the usual points
// 0, +-1, +-2 give 1.7 to 2.2 times (belief maps of wide-lsp and compact-lsp).
#pragma once

#include "direct.h"

namespace cpm::spectral {
namespace {

constexpr int kWinogradSide = 6, kWinogradStep = 4;
constexpr float kInner = 0.70710678118654752f, kOuter = 1.41421356237309505f;  // a and b

// Transforms six cells of a row or column.
CPM_INLINE void transform_cells(const Vector* d, Vector* z) {
    const Vector inner_even = d[4] - 2.0f * d[2], inner_odd = kInner * (d[3] - 2.0f * d[1]);
    const Vector outer_even = d[4] - 0.5f * d[2], outer_odd = kOuter * (d[3] - 0.5f * d[1]);
    z[0] = d[0] - 2.5f * d[2] + d[4];
    z[1] = inner_even + inner_odd;
    z[2] = inner_even - inner_odd;
    z[3] = outer_even + outer_odd;
    z[4] = outer_even - outer_odd;
    z[5] = d[1] - 2.5f * d[3] + d[5];
}

// A row of tiles of an image.
struct TileRow {
    int64_t image, row;  // row: its first row of outputs

    TileRow(const Winograd& job, int64_t index) {
        const int64_t down = (job.height + kWinogradStep - 1) / kWinogradStep;
        image = index / down;
        row = index % down * kWinogradStep;
    }
};

// Tasks: rows of tiles x blocks of inputs.
template <typename Form>
void winograd_read(const Winograd& job, int64_t begin, int64_t end) {
    alignas(64) static constexpr float kZeros[kBlock] = {};
    const int64_t blocks = blocks_of(job.inputs), cell_floats = Form::cell_floats(blocks * kBlock);
    for (int64_t task = begin; task < end; ++task) {
        const TileRow tiles(job, job.first_row + task / blocks);
        const int64_t channel = task % blocks * kBlock, channels = least(kBlock, job.inputs - channel);
        const float* rows[kWinogradSide];
        int64_t steps[kWinogradSide];
        for (int i = 0; i < kWinogradSide; ++i) {
            const int64_t row = tiles.row + i - 1;
            const bool inside = row >= 0 && row < job.height;
            rows[i] = inside ? job.x + (tiles.image * job.height + row) * job.width * job.x_pitch + channel : kZeros;
            steps[i] = inside ? job.x_pitch : 0;
        }
        float* first = job.values + task / blocks * job.across * cell_floats;
        for (int lane = 0; lane < channels; lane += kLanes) {
            Vector columns[kWinogradSide][kWinogradSide];
            const auto read = [&](int i, int64_t column) CPM_INLINE_LAMBDA {
                Vector cells[kWinogradSide];
                if (column < 0 || column >= job.width) {
                    unroll<kWinogradSide>([&](auto k) CPM_INLINE_LAMBDA { columns[i][k] = Vector{}; });
                    return;
                }
                if (channels - lane >= kLanes) {
                    unroll<kWinogradSide>([&](auto k) CPM_INLINE_LAMBDA {
                        cells[k] = load(rows[k] + column * steps[k] + lane);
                    });
                } else {
                    alignas(64) float staged[kLanes] = {};
                    for (int k = 0; k < kWinogradSide; ++k) {
                        memcpy(staged, rows[k] + column * steps[k] + lane, (channels - lane) * sizeof(float));
                        cells[k] = load(staged);
                    }
                }
                transform_cells(cells, columns[i]);
            };
            read(4, -1);
            read(5, 0);
            for (int64_t tile = 0; tile < job.across; ++tile) {
                unroll<kWinogradSide>([&](auto k) CPM_INLINE_LAMBDA {
                    columns[0][k] = columns[4][k];
                    columns[1][k] = columns[5][k];
                });
                for (int i = 2; i < kWinogradSide; ++i) read(i, tile * kWinogradStep + i - 1);
                unroll<kWinogradSide>([&](auto k) CPM_INLINE_LAMBDA {
                    Vector across[kWinogradSide], made[kWinogradSide];
                    unroll<kWinogradSide>([&](auto i) CPM_INLINE_LAMBDA { across[i] = columns[i][k]; });
                    transform_cells(across, made);
                    unroll<kWinogradSide>([&](auto i) CPM_INLINE_LAMBDA {
                        float* cell = first + (kWinogradSide * k + i) * job.value_step + tile * cell_floats;
                        Form::store_lanes(made[i], channel + lane, cell);
                    });
                });
            }
        }
    }
}

// Tasks: the 36 products, for all tiles of the chunk.
template <typename Form>
void winograd_multiply(const Winograd& job, int64_t begin, int64_t end) {
    const int64_t blocks = blocks_of(job.outputs), cell_floats = Form::cell_floats(blocks_of(job.inputs) * kBlock);
    for (int64_t product = begin; product < end; ++product) {
        const float* weights = static_cast<const float*>(job.weights) + product * blocks * Form::words(job.inputs) * kBlock;
        const Direct sums{nullptr, weights, job.zeros, nullptr, 0, 0, 0, job.inputs, job.outputs, 1, false, 0, 0, nullptr, {}};
        const float* row = job.values + product * job.value_step;
        float* to = job.products + product * job.product_step;
        sum_blocks<Form>(sums, &row, job.rows * job.across, cell_floats, [&](int64_t block) -> Target {
            return {to + block * kBlock, blocks * kBlock, kBlock};
        });
    }
}

}  // namespace
}  // namespace cpm::spectral

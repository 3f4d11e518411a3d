// The last stage of a convolution by minimal filtering: products are transformed to outputs; see winograd.h.
#pragma once

#include "winograd.h"

namespace cpm::spectral {
namespace {

// Transforms six products of a row or column to four outputs.
CPM_INLINE void transform_products(const Vector* m, Vector* y) {
    const Vector inner_sum = m[1] + m[2], inner_odd = kInner * (m[1] - m[2]);
    const Vector outer_sum = m[3] + m[4], outer_odd = kOuter * (m[3] - m[4]);
    y[0] = m[0] + inner_sum + outer_sum;
    y[1] = inner_odd + outer_odd;
    y[2] = 0.5f * inner_sum + 2.0f * outer_sum;
    y[3] = 0.5f * inner_odd + 2.0f * outer_odd + m[5];
}

// Tasks: rows of tiles x blocks of outputs.
void winograd_write(const Winograd& job, int64_t begin, int64_t end) {
    const int64_t blocks = blocks_of(job.outputs), shrink = job.pool ? 2 : 1;
    const int64_t height = job.height / shrink, width = job.width / shrink;
    const int side = static_cast<int>(kWinogradStep / shrink);
    const float floor = job.relu ? 0.0f : kLowest;
    for (int64_t task = begin; task < end; ++task) {
        const TileRow tiles(job, job.first_row + task / blocks);
        const int64_t block = task % blocks, channels = least(kBlock, job.outputs - block * kBlock);
        const int64_t row = tiles.row / shrink, rows = least(side, height - row);
        const float* from = job.products + task / blocks * job.across * blocks * kBlock + block * kBlock;
        float* out = job.out + (tiles.image * height + row) * width * job.out_pitch + block * kBlock;
        Integers largest = {};
        for (int lane = 0; lane < channels; lane += kLanes) {
            const Vector bias = load(job.bias + block * kBlock + lane);
            for (int64_t tile = 0; tile < job.across; ++tile) {
                Vector half[kWinogradStep][kWinogradSide], y[kWinogradStep][kWinogradStep];  // [column, row]
                const float* at = from + tile * blocks * kBlock + lane;
                unroll<kWinogradSide>([&](auto k) CPM_INLINE_LAMBDA {
                    Vector m[kWinogradSide], made[kWinogradStep];
                    unroll<kWinogradSide>([&](auto i) CPM_INLINE_LAMBDA {
                        m[i] = load(at + (kWinogradSide * k + i) * job.product_step);
                    });
                    transform_products(m, made);
                    unroll<kWinogradStep>([&](auto i) CPM_INLINE_LAMBDA { half[i][k] = made[i]; });
                });
                unroll<kWinogradStep>([&](auto i) CPM_INLINE_LAMBDA {
                    transform_products(half[i], y[i]);
                    unroll<kWinogradStep>([&](auto k) CPM_INLINE_LAMBDA {
                        y[i][k] = y[i][k] + bias;
                        largest = larger(largest, magnitudes(y[i][k]));
                    });
                });
                if (job.pool) {
                    unroll<2>([&](auto i) CPM_INLINE_LAMBDA {
                        unroll<2>([&](auto k) CPM_INLINE_LAMBDA {
                            const Vector above = greater(y[2 * i][2 * k], y[2 * i + 1][2 * k]);
                            y[i][k] = greater(above, greater(y[2 * i][2 * k + 1], y[2 * i + 1][2 * k + 1]));
                        });
                    });
                }
                const int64_t column = tile * side, columns = least(side, width - column);
                for (int k = 0; k < rows; ++k) {
                    for (int i = 0; i < columns; ++i) {
                        float* to = out + (k * width + column + i) * job.out_pitch + lane;
                        const Vector value = at_least(y[i][k], floor);
                        if (channels - lane >= kLanes) {
                            store(to, value);
                        } else {
                            alignas(64) float staged[kLanes];
                            store(staged, value);
                            memcpy(to, staged, (channels - lane) * sizeof(float));
                        }
                    }
                }
            }
        }
        int32_t most_of = 0;
        for (int lane = 0; lane < kLanes; ++lane) most_of = largest[lane] > most_of ? largest[lane] : most_of;
        if (most_of >= kInfinite) __atomic_store_n(job.broken + tiles.image, 1, __ATOMIC_RELAXED);
    }
}

}  // namespace
}  // namespace cpm::spectral

// Batch normalization, ReLU and a maximum pool of 2 x 2 cells as one: the map before the pool is never written. A window's
// gradient goes to its largest value, the first if there are several; which one that is follows from x again.
#pragma once

#include "dft.h"
#include "norm.h"

namespace cpm::spectral {
namespace {

constexpr int kWindow = 4;

// The cells of a window, row by row: distances from the mean, and values before the ReLU.
template <typename Number>
struct Window {
    Number distances[kWindow], values[kWindow], largest;

    CPM_INLINE Window(const NormWindows& job, int64_t window, int64_t c, Number factor, Number offset, Number mean) {
        const float* x = job.x + 2 * window * job.x_pitch + c;
        const float* cells[kWindow] = {x, x + job.x_pitch, x + job.x_row, x + job.x_row + job.x_pitch};
        unroll<kWindow>([&](auto i) CPM_INLINE_LAMBDA {
            distances[i] = take<Number>(cells[i]) - mean;
            values[i] = distances[i] * factor + offset;
        });
        largest = greater(greater(values[0], values[1]), greater(values[2], values[3]));
    }

    // Calls body(i, the gradient of the i-th cell's value).
    template <typename Body>
    CPM_INLINE void share(Number dy, bool relu, const Body& body) const {
        Number left = relu ? gated(dy, largest) : dy;
        unroll<kWindow>([&](auto i) CPM_INLINE_LAMBDA {
            body(i, where_equal(values[i], largest, left, Number{}));
            left = where_equal(values[i], largest, Number{}, left);
        });
    }
};

void norm_pool_write(const NormWindows& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Number factor = take<Number>(job.terms.factor + c), offset = take<Number>(job.terms.offset + c);
        const Number mean = take<Number>(job.terms.mean + c);
        for (int64_t i = 0; i < job.windows; ++i) {
            const Number value = Window<Number>(job, i, c, factor, offset, mean).largest;
            put(job.y + i * job.y_pitch + c, job.relu ? at_least(value, 0.0f) : value);
        }
    });
}

void norm_pool_gradient_sums(const NormWindows& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int lanes) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Number factor = take<Number>(job.terms.factor + c), offset = take<Number>(job.terms.offset + c);
        const Number mean = take<Number>(job.terms.mean + c);
        Number sum, product;
        sum_cells(job.windows, [&](int64_t i, Number& a, Number& b) CPM_INLINE_LAMBDA {
            const Window<Number> window(job, i, c, factor, offset, mean);
            window.share(take<Number>(job.dy + i * job.y_pitch + c), job.relu,
                         [&](int cell, Number gradient) CPM_INLINE_LAMBDA {
                a += gradient;
                b += gradient * window.distances[cell];
            });
        }, sum, product);
        for (int lane = 0; lane < lanes; ++lane) {
            job.first[c + lane] = lane_of(sum, lane);
            job.second[c + lane] = lane_of(product, lane);
        }
    });
}

void norm_pool_gradient_write(const NormWindows& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Number factor = take<Number>(job.terms.factor + c), offset = take<Number>(job.terms.offset + c);
        const Number mean = take<Number>(job.terms.mean + c), slope = take<Number>(job.terms.slope + c);
        const Number shift = take<Number>(job.terms.shift + c);
        for (int64_t i = 0; i < job.windows; ++i) {
            const Window<Number> window(job, i, c, factor, offset, mean);
            float* dx = job.y + 2 * i * job.x_pitch + c;
            window.share(take<Number>(job.dy + i * job.y_pitch + c), job.relu,
                         [&](int cell, Number gradient) CPM_INLINE_LAMBDA {
                put(dx + cell / 2 * job.x_row + cell % 2 * job.x_pitch,
                    gradient * factor - shift - window.distances[cell] * slope);
            });
        }
    });
}

}  // namespace
}  // namespace cpm::spectral

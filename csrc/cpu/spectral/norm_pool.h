// Batch normalization, ReLU and a maximum pool of 2 x 2 cells as one: the map before the pool is never written. A window's
// gradient goes to its largest value, the first if there are several; which one that is follows from x again. X is the
// type of x and dx, Y that of y and dy.
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

    template <typename X>
    CPM_INLINE Window(const NormWindows& job, const ChannelTerms<Number>& terms, const X* x) {
        const X* cells[kWindow] = {x, x + job.x_pitch, x + job.x_row, x + job.x_row + job.x_pitch};
        unroll<kWindow>([&](auto i) CPM_INLINE_LAMBDA {
            distances[i] = terms.distance(cells[i]);
            values[i] = terms.value(distances[i]);
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

// Returns the i-th window of a vector of channels, the first of which is c.
template <typename X, typename Number>
CPM_INLINE Window<Number> window_at(const NormWindows& job, const ChannelTerms<Number>& terms, int64_t i, int64_t c) {
    return Window<Number>(job, terms, static_cast<const X*>(job.x) + 2 * i * job.x_pitch + c);
}

template <typename X, typename Y>
void norm_pool_write(const NormWindows& job) {
    Y* y = static_cast<Y*>(job.y);
    by_terms(job.terms, job.channels, [&](const auto& terms, int64_t c) CPM_INLINE_LAMBDA {
        for (int64_t i = 0; i < job.windows; ++i) {
            const auto value = window_at<X>(job, terms, i, c).largest;
            put(y + i * job.y_pitch + c, job.relu ? at_least(value, 0.0f) : value);
        }
    });
}

template <typename Map>
void norm_pool_gradient_sums(const NormWindows& job) {
    const Map* dy = static_cast<const Map*>(job.dy);
    write_sums(job, job.windows, [&](const auto& terms, int64_t c, int64_t i, auto& a, auto& b) CPM_INLINE_LAMBDA {
        using Number = std::remove_reference_t<decltype(a)>;
        const auto window = window_at<Map>(job, terms, i, c);
        window.share(take<Number>(dy + i * job.y_pitch + c), job.relu,
                     [&](int cell, Number gradient) CPM_INLINE_LAMBDA {
            a += gradient;
            b += gradient * window.distances[cell];
        });
    });
}

template <typename Map>
void norm_pool_gradient_write(const NormWindows& job) {
    const Map* dy = static_cast<const Map*>(job.dy);
    by_terms(job.terms, job.channels, [&](const auto& terms, int64_t c) CPM_INLINE_LAMBDA {
        for (int64_t i = 0; i < job.windows; ++i) {
            const auto window = window_at<Map>(job, terms, i, c);
            using Number = std::decay_t<decltype(window.largest)>;
            Map* dx = static_cast<Map*>(job.y) + 2 * i * job.x_pitch + c;
            window.share(take<Number>(dy + i * job.y_pitch + c), job.relu,
                         [&](int cell, Number gradient) CPM_INLINE_LAMBDA {
                put(dx + cell / 2 * job.x_row + cell % 2 * job.x_pitch, terms.dx(gradient, window.distances[cell]));
            });
        }
    });
}

// Both at once, but what is written, like x, is the gradient of the normalized values.
template <typename Y>
void norm_pool_gradient_share(const NormWindows& job) {
    const Y* dy = static_cast<const Y*>(job.dy);
    write_sums(job, job.windows, [&](const auto& terms, int64_t c, int64_t i, auto& a, auto& b) CPM_INLINE_LAMBDA {
        using Number = std::remove_reference_t<decltype(a)>;
        const auto window = window_at<float>(job, terms, i, c);
        float* dx = static_cast<float*>(job.y) + 2 * i * job.x_pitch + c;
        window.share(take<Number>(dy + i * job.y_pitch + c), job.relu,
                     [&](int cell, Number gradient) CPM_INLINE_LAMBDA {
            a += gradient;
            b += gradient * window.distances[cell];
            put(dx + cell / 2 * job.x_row + cell % 2 * job.x_pitch, gradient);
        });
    });
}

}  // namespace
}  // namespace cpm::spectral

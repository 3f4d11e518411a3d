// Batch normalization, ReLU and a maximum pool of 2 x 2 cells as one: the map before the pool is never written. A window's
// gradient goes to its largest value, the first if there are several; which one that is follows from x again, or from its
// place. Y is the type of y and dy where x is of floats.
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

template <typename Map>
void norm_pool_write(const NormWindows& job) {
    Map* y = static_cast<Map*>(job.y);
    by_terms(job.terms, job.channels, [&](const auto& terms, int64_t c) CPM_INLINE_LAMBDA {
        for (int64_t i = 0; i < job.windows; ++i) {
            const auto value = window_at<Map>(job, terms, i, c).largest;
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

CPM_INLINE int32_t where_above(float a, float b, int32_t yes, int32_t no) { return a > b ? yes : no; }
CPM_INLINE float where_place(int32_t place, int32_t wanted, float value) { return place == wanted ? value : 0.0f; }
CPM_INLINE int32_t place_like(float, int32_t place) { return place; }
CPM_INLINE Integers place_like(Vector, int32_t place) { return spread(place); }
CPM_INLINE int32_t take_place(float, const unsigned char* from) { return *from; }
CPM_INLINE Integers take_place(Vector, const unsigned char* from) { return load_bytes(from); }
CPM_INLINE void put_place(unsigned char* to, int32_t place) { *to = static_cast<unsigned char>(place); }
CPM_INLINE void put_place(unsigned char* to, Integers places) { store_bytes(to, places); }

template <typename Y>
void norm_pool_places(const NormWindows& job) {
    Y* y = static_cast<Y*>(job.y);
    by_terms(job.terms, job.channels, [&](const auto& terms, int64_t c) CPM_INLINE_LAMBDA {
        for (int64_t i = 0; i < job.windows; ++i) {
            const auto window = window_at<float>(job, terms, i, c);
            const auto largest = window.largest;
            auto place = place_like(largest, kWindow);
            unroll<kWindow - 1>([&](auto cell) CPM_INLINE_LAMBDA {
                constexpr int earlier = kWindow - 2 - cell;
                place = where_above(largest, window.values[earlier], place, place_like(largest, earlier + 1));
            });
            place = where_above(largest, decltype(window.largest){}, place, place_like(largest, 0));
            put_place(job.places + i * job.y_pitch + c, place);
            put(y + i * job.y_pitch + c, at_least(largest, 0.0f));
        }
    });
}

template <typename Y>
void norm_pool_gradient_places(const NormWindows& job) {
    const Y* dy = static_cast<const Y*>(job.dy);
    by_channels(job.channels, [&](auto kind, int64_t c, int lanes) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        Number sum{}, none;
        sum_cells(job.windows, [&](int64_t i, Number& a, Number&) CPM_INLINE_LAMBDA {
            const Number gradient = take<Number>(dy + i * job.y_pitch + c);
            const auto place = take_place(gradient, job.places + i * job.y_pitch + c);
            float* dx = static_cast<float*>(job.y) + 2 * i * job.x_pitch + c;
            Number cells[kWindow];
            unroll<kWindow>([&](auto cell) CPM_INLINE_LAMBDA {
                cells[cell] = where_place(place, cell + 1, gradient);
                put(dx + cell / 2 * job.x_row + cell % 2 * job.x_pitch, cells[cell]);
            });
            a += (cells[0] + cells[1]) + (cells[2] + cells[3]);
        }, sum, none);
        for (int lane = 0; lane < lanes; ++lane) job.first[c + lane] += lane_of(sum, lane);
    });
}

}  // namespace
}  // namespace cpm::spectral

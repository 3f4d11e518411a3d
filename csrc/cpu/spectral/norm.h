// Batch normalization of a chunk of cells, which stays in cache: a vector holds channels, and the same code processes
// the remaining channels one by one. Maps are of floats or of bfloat16 (uint16_t); all arithmetic is of floats.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace cpm::spectral {
namespace {

template <typename Number>
CPM_INLINE Number take(const float* from) {
    if constexpr (sizeof(Number) == sizeof(float)) {
        return *from;
    } else {
        return load(from);
    }
}
template <typename Number>
CPM_INLINE Number take(const uint16_t* from) {
    if constexpr (sizeof(Number) == sizeof(float)) {
        return float_of(static_cast<uint32_t>(*from) << 16);
    } else {
        return load_bfloat16(from);
    }
}
CPM_INLINE void put(float* to, float value) { *to = value; }
CPM_INLINE void put(float* to, Vector value) { store(to, value); }
CPM_INLINE void put(uint16_t* to, float value) { *to = bfloat16_bits(value); }
CPM_INLINE void put(uint16_t* to, Vector value) { store_bfloat16(to, value); }

CPM_INLINE float lane_of(float value, int) { return value; }
CPM_INLINE float lane_of(Vector value, int lane) { return value[lane]; }

// Calls body(a Vector or a float, the first of its channels, their number).
template <typename Body>
CPM_INLINE void by_channels(int64_t channels, const Body& body) {
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) body(Vector{}, c, kLanes);
    for (; c < channels; ++c) body(0.0f, c, 1);
}

// The terms of a Vector or a float of channels.
template <typename Number>
struct ChannelTerms {
    Number factor, offset, mean, slope, shift;

    CPM_INLINE ChannelTerms(const NormTerms& terms, int64_t c)
        : factor(take<Number>(terms.factor + c)), offset(take<Number>(terms.offset + c)),
          mean(take<Number>(terms.mean + c)), slope(take<Number>(terms.slope + c)),
          shift(take<Number>(terms.shift + c)) {}

    template <typename Map>
    CPM_INLINE Number distance(const Map* x) const {
        return take<Number>(x) - mean;
    }
    // Returns the value before the ReLU. Not x * factor + offset: beside a mean of many deviations, both are large and
    // cancel.
    CPM_INLINE Number value(Number distance) const { return distance * factor + offset; }
    // Returns the gradient of x from that of the value.
    CPM_INLINE Number dx(Number gradient, Number distance) const {
        return gradient * factor - shift - distance * slope;
    }
};

// Calls body(the terms of a Vector or a float of channels, the first of these).
template <typename Body>
CPM_INLINE void by_terms(const NormTerms& terms, int64_t channels, const Body& body) {
    by_channels(channels, [&](auto kind, int64_t c, int) CPM_INLINE_LAMBDA {
        body(ChannelTerms<decltype(kind)>(terms, c), c);
    });
}

// Sums add(cell) over all cells, with two accumulators each.
template <typename Number, typename Add>
CPM_INLINE void sum_cells(int64_t cells, const Add& add, Number& first, Number& second) {
    Number sums[2][2] = {};
    for (int64_t i = 0; i + 1 < cells; i += 2) {
        add(i, sums[0][0], sums[0][1]);
        add(i + 1, sums[1][0], sums[1][1]);
    }
    if (cells % 2 == 1) add(cells - 1, sums[0][0], sums[0][1]);
    first = sums[0][0] + sums[1][0];
    second = sums[0][1] + sums[1][1];
}

// Writes each channel's sums over `count` cells or windows: add(terms, the first channel, i, two sums) adds those of
// the i-th.
template <typename Job, typename Add>
CPM_INLINE void write_sums(const Job& job, int64_t count, const Add& add) {
    by_channels(job.channels, [&](auto kind, int64_t c, int lanes) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const ChannelTerms<Number> terms(job.terms, c);
        Number first, second;
        sum_cells(count, [&](int64_t i, Number& a, Number& b) CPM_INLINE_LAMBDA { add(terms, c, i, a, b); }, first,
                  second);
        for (int lane = 0; lane < lanes; ++lane) {
            job.first[c + lane] = lane_of(first, lane);
            job.second[c + lane] = lane_of(second, lane);
        }
    });
}

template <typename Map>
void norm_sums(const NormChunk& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int lanes) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Map* x = static_cast<const Map*>(job.x) + c;
        Number sum, left, squares;
        sum_cells(job.cells, [&](int64_t i, Number& a, Number&) CPM_INLINE_LAMBDA {
            a += take<Number>(x + i * job.channels);
        }, sum, left);
        const Number middle = sum / static_cast<float>(job.cells);
        sum_cells(job.cells, [&](int64_t i, Number& a, Number& b) CPM_INLINE_LAMBDA {
            const Number distance = take<Number>(x + i * job.channels) - middle;
            a += distance;
            b += distance * distance;
        }, left, squares);
        for (int lane = 0; lane < lanes; ++lane) {
            // Rounding leaves a small remainder of the mean.
            const double rest = lane_of(left, lane) / static_cast<double>(job.cells);
            job.first[c + lane] = lane_of(middle, lane) + rest;
            job.second[c + lane] = lane_of(squares, lane) - rest * rest * static_cast<double>(job.cells);
        }
    });
}

template <typename Map>
void norm_write(const NormChunk& job) {
    const Map* x = static_cast<const Map*>(job.x);
    Map* y = static_cast<Map*>(job.y);
    by_terms(job.terms, job.channels, [&](const auto& terms, int64_t c) CPM_INLINE_LAMBDA {
        for (int64_t i = 0; i < job.cells; ++i) {
            const int64_t at = i * job.channels + c;
            const auto value = terms.value(terms.distance(x + at));
            // NaN stays, as in PyTorch's ReLU.
            put(y + at, job.relu ? at_least(value, 0.0f) : value);
        }
    });
}

// Returns dy where the ReLU was open, by the forward pass's own arithmetic.
template <typename Number, typename Map>
CPM_INLINE Number open_gradient(const NormChunk& job, const ChannelTerms<Number>& terms, const Map* dy,
                                Number distance) {
    const Number gradient = take<Number>(dy);
    return job.relu ? gated(gradient, terms.value(distance)) : gradient;
}

template <typename Map>
void norm_gradient_sums(const NormChunk& job) {
    const Map *x = static_cast<const Map*>(job.x), *dy = static_cast<const Map*>(job.dy);
    write_sums(job, job.cells, [&](const auto& terms, int64_t c, int64_t i, auto& a, auto& b) CPM_INLINE_LAMBDA {
        const int64_t at = i * job.channels + c;
        const auto distance = terms.distance(x + at);
        const auto gradient = open_gradient(job, terms, dy + at, distance);
        a += gradient;
        b += gradient * distance;
    });
}

template <typename Map>
void norm_gradient_write(const NormChunk& job) {
    const Map *x = static_cast<const Map*>(job.x), *dy = static_cast<const Map*>(job.dy);
    Map* dx = static_cast<Map*>(job.y);
    by_terms(job.terms, job.channels, [&](const auto& terms, int64_t c) CPM_INLINE_LAMBDA {
        for (int64_t i = 0; i < job.cells; ++i) {
            const int64_t at = i * job.channels + c;
            const auto distance = terms.distance(x + at);
            put(dx + at, terms.dx(open_gradient(job, terms, dy + at, distance), distance));
        }
    });
}

}  // namespace
}  // namespace cpm::spectral

// Batch normalization of a chunk of cells, which stays in cache: a vector holds channels, and the same code processes
// the remaining channels one by one.
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
CPM_INLINE void put(float* to, float value) { *to = value; }
CPM_INLINE void put(float* to, Vector value) { store(to, value); }

CPM_INLINE float lane_of(float value, int) { return value; }
CPM_INLINE float lane_of(Vector value, int lane) { return value[lane]; }

// Calls body(a Vector or a float, the first of its channels, their number).
template <typename Body>
CPM_INLINE void by_channels(int64_t channels, const Body& body) {
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) body(Vector{}, c, kLanes);
    for (; c < channels; ++c) body(0.0f, c, 1);
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

void norm_sums(const NormChunk& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int lanes) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const float* x = job.x + c;
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

void norm_write(const NormChunk& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Number factor = take<Number>(job.terms.factor + c), offset = take<Number>(job.terms.offset + c);
        const Number mean = take<Number>(job.terms.mean + c);
        for (int64_t i = 0; i < job.cells; ++i) {
            // Not x * factor + offset: beside a mean of many deviations, both are large and cancel.
            const Number value = (take<Number>(job.x + i * job.channels + c) - mean) * factor + offset;
            // NaN stays, as in PyTorch's ReLU.
            put(job.y + i * job.channels + c, job.relu ? at_least(value, 0.0f) : value);
        }
    });
}

// Returns dy where the ReLU was open, by the forward pass's own arithmetic.
template <typename Number>
CPM_INLINE Number open_gradient(const NormChunk& job, int64_t at, Number distance, Number factor, Number offset) {
    const Number dy = take<Number>(job.dy + at);
    return job.relu ? gated(dy, distance * factor + offset) : dy;
}

void norm_gradient_sums(const NormChunk& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int lanes) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Number factor = take<Number>(job.terms.factor + c), offset = take<Number>(job.terms.offset + c);
        const Number mean = take<Number>(job.terms.mean + c);
        Number sum, product;
        sum_cells(job.cells, [&](int64_t i, Number& a, Number& b) CPM_INLINE_LAMBDA {
            const int64_t at = i * job.channels + c;
            const Number distance = take<Number>(job.x + at) - mean;
            const Number gradient = open_gradient(job, at, distance, factor, offset);
            a += gradient;
            b += gradient * distance;
        }, sum, product);
        for (int lane = 0; lane < lanes; ++lane) {
            job.first[c + lane] = lane_of(sum, lane);
            job.second[c + lane] = lane_of(product, lane);
        }
    });
}

void norm_gradient_write(const NormChunk& job) {
    by_channels(job.channels, [&](auto kind, int64_t c, int) CPM_INLINE_LAMBDA {
        using Number = decltype(kind);
        const Number factor = take<Number>(job.terms.factor + c), offset = take<Number>(job.terms.offset + c);
        const Number mean = take<Number>(job.terms.mean + c), slope = take<Number>(job.terms.slope + c);
        const Number shift = take<Number>(job.terms.shift + c);
        for (int64_t i = 0; i < job.cells; ++i) {
            const int64_t at = i * job.channels + c;
            const Number distance = take<Number>(job.x + at) - mean;
            const Number gradient = open_gradient(job, at, distance, factor, offset);
            put(job.y + at, gradient * factor - shift - distance * slope);
        }
    });
}

}  // namespace
}  // namespace cpm::spectral

// The order of values, and the peak of a parabola: the same on CPU and GPU.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpm/rounded.h"

namespace cpm {

CPM_HOST_DEVICE inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Orders floats as integers: -inf is the smallest value, both zeros are equal, and NaN is below all, at INT32_MIN.
CPM_HOST_DEVICE inline int32_t peak_order(float value) {
    const uint32_t bits = bits_of(rounded_sum(value, 0.0f));
    const int32_t order = static_cast<int32_t>(bits ^ (static_cast<uint32_t>(-static_cast<int32_t>(bits >> 31)) >> 1));
    return (bits & 0x7fffffffu) > 0x7f800000u ? INT32_MIN : order;
}

// A candidate as one number, so that a maximum in any order finds the highest value and, among ties, the smallest
// index (below 2^32). A NaN is 0, which loses to everything.
using Candidate = uint64_t;

CPM_HOST_DEVICE inline Candidate candidate(float value, int64_t index) {
    const uint32_t order = static_cast<uint32_t>(peak_order(value)) ^ 0x80000000u;
    return order == 0 ? 0 : static_cast<uint64_t>(order) << 32 | (0xffffffffu - static_cast<uint32_t>(index));
}

CPM_HOST_DEVICE inline int64_t index_of(Candidate best) { return 0xffffffffu - static_cast<uint32_t>(best); }

// Returns the value; a negative zero has become positive.
CPM_HOST_DEVICE inline float value_of(Candidate best) {
    const uint32_t order = static_cast<uint32_t>(best >> 32);
    const uint32_t bits = order & 0x80000000u ? order ^ 0x80000000u : ~order;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// The peak of the parabola through values at -1, 0 and 1, clamped to +-0.5; 0 if it has no finite peak.
CPM_HOST_DEVICE inline float vertex(float left, float center, float right) {
    const float curvature = rounded_sum(rounded_sum(left, -rounded_product(2.0f, center)), right);
    if (!(curvature < 0.0f && curvature >= -3.402823466e38f)) return 0.0f;
    const float offset = rounded_quotient(rounded_sum(left, -right), rounded_product(2.0f, curvature));
    return offset < -0.5f ? -0.5f : offset > 0.5f ? 0.5f : offset;
}

// One step of a tree over a power of two of values: thread t of the first `half` takes the better of two. All threads
// of a block step together; a host that runs them one after the other does the same.
CPM_HOST_DEVICE inline void reduce_step(Candidate* values, int thread, int half) {
    if (thread < half && values[thread + half] > values[thread]) values[thread] = values[thread + half];
}

}  // namespace cpm

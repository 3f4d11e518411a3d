// bfloat16: the upper half of a float, rounded to the nearest, ties to even. Internal linkage, as in simd.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "../vectors.h"

namespace cpm::spectral {
namespace {

CPM_INLINE float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

// Returns the rounded value as a float, whose lower half is 0; NaN stays.
CPM_INLINE float bfloat16_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    bits = (nan ? bits | 0x00400000u : bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    return float_of(bits);
}

// Returns a pair as it lies in memory, the first in the lower half.
CPM_INLINE uint32_t bfloat16_pair(float first, float second) {
    const float rounded[2] = {bfloat16_of(first), bfloat16_of(second)};
    uint32_t bits[2];
    std::memcpy(bits, rounded, sizeof(bits));
    return bits[0] >> 16 | bits[1];
}

}  // namespace
}  // namespace cpm::spectral

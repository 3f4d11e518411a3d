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

// Returns the rounded value as it lies in memory.
CPM_INLINE uint16_t bfloat16_bits(float value) {
    const float rounded = bfloat16_of(value);
    uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof(bits));
    return static_cast<uint16_t>(bits >> 16);
}

// Returns a pair as it lies in memory, the first in the lower half.
CPM_INLINE uint32_t bfloat16_pair(float first, float second) {
    return bfloat16_bits(first) | static_cast<uint32_t>(bfloat16_bits(second)) << 16;
}

}  // namespace
}  // namespace cpm::spectral

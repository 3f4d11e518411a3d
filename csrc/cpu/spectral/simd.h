// Vectors of floats of the width that this file is compiled for, and complex numbers of them. Everything here and in
// the headers over it has internal linkage: the same source is compiled once for each instruction set, and no linker
// may take a function of one for another's.
#pragma once

#include <cstdint>

namespace cpm::spectral {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kProductRows = 8;  // 24 accumulators, 3 weights and a broadcast in 32 registers
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kProductRows = 4;  // 12, 3 and 1 in 16 registers
#else
constexpr int kLanes = 4;
constexpr int kProductRows = 4;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

#define CPM_INLINE __attribute__((always_inline)) inline
#define CPM_INLINE_LAMBDA __attribute__((always_inline))

CPM_INLINE Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
CPM_INLINE void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }

struct Complex {
    Vector re, im;
};

CPM_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
CPM_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
CPM_INLINE Complex load_complex(const float* from) { return {load(from), load(from + 16)}; }
CPM_INLINE void store_complex(float* to, Complex value) {
    store(to, value.re);
    store(to + 16, value.im);
}

// Brings `count` pieces of `floats` each, `step` floats apart, into the cache, to be read or written soon. What
// transforms scatter and gather lies too far apart for the hardware to see it coming.
template <bool Write>
CPM_INLINE void fetch(const float* at, int64_t count, int64_t step, int floats) {
    for (int64_t i = 0; i < count; ++i, at += step) {
        for (int line = 0; line < floats; line += 16) __builtin_prefetch(at + line, Write, 3);
    }
}

CPM_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
CPM_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace
}  // namespace cpm::spectral

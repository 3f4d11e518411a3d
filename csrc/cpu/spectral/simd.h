// Vectors of floats of the width that this file is compiled for, and complex numbers of them. Everything here and in
// the headers that include it has internal linkage: the same source is compiled once for each instruction set, and the
// linker must not exchange their functions.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "../vectors.h"
#include "bfloat16.h"

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

constexpr int kDoubles = kLanes / 2;

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// Magnitudes are compared by their bits as integers: infinity and NaN are then larger than any number.
constexpr int32_t kMagnitude = 0x7fffffff, kInfinite = 0x7f800000;

CPM_INLINE int32_t magnitude(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits & kMagnitude;
}

#if CPM_GNU_VECTORS

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

// Stores past the caches, to an aligned place; `end_stream` then makes the values visible to other threads.
CPM_INLINE void stream(float* to, Vector value) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, reinterpret_cast<__m512>(value));
#else
    *reinterpret_cast<Vector*>(to) = value;
#endif
}
CPM_INLINE void end_stream() {
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}

CPM_INLINE Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
CPM_INLINE void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }

typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));

CPM_INLINE Integers magnitudes(Vector values) { return reinterpret_cast<Integers>(values) & kMagnitude; }
CPM_INLINE Integers larger(Integers a, Integers b) { return a > b ? a : b; }

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint32_t UnalignedWords __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));

CPM_INLINE Words load_words(const unsigned char* from) { return *reinterpret_cast<const UnalignedWords*>(from); }

CPM_INLINE Vector first_halves(Words pairs) { return reinterpret_cast<Vector>(pairs << 16); }
CPM_INLINE Vector second_halves(Words pairs) { return reinterpret_cast<Vector>(pairs & 0xffff0000u); }

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
typedef uint8_t UnalignedBytes __attribute__((vector_size(kLanes), aligned(1), may_alias));

CPM_INLINE Integers load_bytes(const unsigned char* from) {
    const Bytes bytes = *reinterpret_cast<const UnalignedBytes*>(from);
    return __builtin_convertvector(bytes, Integers);
}
CPM_INLINE void store_bytes(unsigned char* to, Integers values) {
    *reinterpret_cast<UnalignedBytes*>(to) = __builtin_convertvector(values, Bytes);
}
CPM_INLINE Integers spread(int32_t value) { return Integers{} + value; }

// Returns `yes` where a is above b, and `no` elsewhere.
CPM_INLINE Integers where_above(Vector a, Vector b, Integers yes, Integers no) { return a > b ? yes : no; }

// Returns the values at whose places `places` holds `wanted`, and 0 elsewhere.
CPM_INLINE Vector where_place(Integers places, int32_t wanted, Vector values) {
    return places == wanted ? values : Vector{};
}

typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
typedef uint16_t UnalignedHalves __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// Returns bfloat16 numbers as floats.
CPM_INLINE Vector load_bfloat16(const uint16_t* from) {
    const Halves halves = *reinterpret_cast<const UnalignedHalves*>(from);
    return reinterpret_cast<Vector>(__builtin_convertvector(halves, Words) << 16);
}

// Stores floats as bfloat16, rounded as by bfloat16_of.
CPM_INLINE void store_bfloat16(uint16_t* to, Vector values) {
    const Words bits = reinterpret_cast<Words>(values), rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    const Words kept = (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : rounded;
    *reinterpret_cast<UnalignedHalves*>(to) = __builtin_convertvector(kept >> 16, Halves);
}

typedef double Doubles __attribute__((vector_size(8 * kDoubles)));
typedef double UnalignedDoubles __attribute__((vector_size(8 * kDoubles), aligned(8), may_alias));

CPM_INLINE Doubles load_doubles(const double* from) { return *reinterpret_cast<const UnalignedDoubles*>(from); }
CPM_INLINE Doubles sum_product(Doubles sum, Doubles a, Doubles b) { return sum + a * b; }

#else

using Vector = PlainVector<kLanes>;
using Doubles = PlainVector<kDoubles, double>;
using Integers = PlainVector<kLanes, int32_t>;
using Words = PlainVector<kLanes, uint32_t>;

CPM_INLINE Vector load(const float* from) {
    return each_lane<kLanes>([&](int lane) { return from[lane]; });
}
CPM_INLINE void store(float* to, Vector value) {
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = value[lane];
}
CPM_INLINE void stream(float* to, Vector value) { store(to, value); }
CPM_INLINE void end_stream() {}
CPM_INLINE Integers magnitudes(Vector values) {
    return each_lane<kLanes>([&](int lane) { return magnitude(values[lane]); });
}
CPM_INLINE Integers larger(Integers a, Integers b) {
    return each_lane<kLanes>([&](int lane) { return a[lane] > b[lane] ? a[lane] : b[lane]; });
}
CPM_INLINE Integers load_bytes(const unsigned char* from) {
    return each_lane<kLanes>([&](int lane) { return static_cast<int32_t>(from[lane]); });
}
CPM_INLINE void store_bytes(unsigned char* to, Integers values) {
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = static_cast<unsigned char>(values[lane]);
}
CPM_INLINE Integers spread(int32_t value) {
    return each_lane<kLanes>([&](int) { return value; });
}
CPM_INLINE Integers where_above(Vector a, Vector b, Integers yes, Integers no) {
    return each_lane<kLanes>([&](int lane) { return a[lane] > b[lane] ? yes[lane] : no[lane]; });
}
CPM_INLINE Vector where_place(Integers places, int32_t wanted, Vector values) {
    return each_lane<kLanes>([&](int lane) { return places[lane] == wanted ? values[lane] : 0.0f; });
}
CPM_INLINE Words load_words(const unsigned char* from) {
    Words words;
    std::memcpy(words.lanes, from, sizeof(words.lanes));
    return words;
}
CPM_INLINE Vector first_halves(Words pairs) {
    return each_lane<kLanes>([&](int lane) { return float_of(pairs[lane] << 16); });
}
CPM_INLINE Vector second_halves(Words pairs) {
    return each_lane<kLanes>([&](int lane) { return float_of(pairs[lane] & 0xffff0000u); });
}
CPM_INLINE Vector load_bfloat16(const uint16_t* from) {
    return each_lane<kLanes>([&](int lane) { return float_of(static_cast<uint32_t>(from[lane]) << 16); });
}
CPM_INLINE void store_bfloat16(uint16_t* to, Vector values) {
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = bfloat16_bits(values[lane]);
}
CPM_INLINE Doubles load_doubles(const double* from) {
    return each_lane<kDoubles>([&](int lane) { return from[lane]; });
}
CPM_INLINE Doubles sum_product(Doubles sum, Doubles a, Doubles b) {
    return each_lane<kDoubles>([&](int lane) { return sum[lane] + a[lane] * b[lane]; });
}

#endif

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

// Prefetches `count` pieces of `floats` each, `step` floats apart, to be read or written soon. The accesses of
// transforms are too far apart for the hardware to predict.
template <bool Write>
CPM_INLINE void fetch(const float* at, int64_t count, int64_t step, int floats) {
    for (int64_t i = 0; i < count; ++i, at += step) {
        for (int line = 0; line < floats; line += 16) prefetch<Write>(at + line);
    }
}

CPM_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
CPM_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace
}  // namespace cpm::spectral

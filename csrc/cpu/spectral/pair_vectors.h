// Vectors of pairs of bfloat16, and the sums of their products. They exist where the instruction set has such products,
// and with CPM_FAST_PLAIN_PAIRS.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "simd.h"

namespace cpm::spectral {
namespace {

#if defined(__AVX512BF16__)

using PairVector = __m512bh;

CPM_INLINE PairVector load_pairs(const float* at) { return (__m512bh)_mm512_loadu_si512(at); }
CPM_INLINE PairVector repeated_pair(int32_t pair) { return (__m512bh)_mm512_set1_epi32(pair); }
CPM_INLINE void add_products(Vector& sum, PairVector a, PairVector b) {
    sum = (Vector)_mm512_dpbf16_ps((__m512)sum, a, b);
}
// Rounds as many as it can, and returns how many.
CPM_INLINE int64_t store_pairs(const float* from, int64_t count, float* to) {
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
        _mm512_storeu_si512(to + i / 2, (__m512i)pairs);
    }
    return i;
}
CPM_INLINE void store_pairs(Vector values, float* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)values));
}
// Stores a pair for each lane, with the real part first.
CPM_INLINE void store_complex_pairs(Complex z, float* to) {
    alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i planes = (__m512i)_mm512_cvtne2ps_pbh((__m512)z.im, (__m512)z.re);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), planes));
}
CPM_INLINE PairVector conjugate(PairVector z) {
    return (PairVector)_mm512_xor_si512((__m512i)z, _mm512_set1_epi32(INT32_MIN));
}
CPM_INLINE PairVector swapped(PairVector z) { return (PairVector)_mm512_rol_epi32((__m512i)z, 16); }

#elif defined(CPM_FAST_PLAIN_PAIRS)

// The same without such an instruction set, for tests.
using PairVector = Words;

CPM_INLINE PairVector load_pairs(const float* at) { return load_words(reinterpret_cast<const unsigned char*>(at)); }
CPM_INLINE PairVector repeated_pair(int32_t pair) {
    PairVector words;
    for (int lane = 0; lane < kLanes; ++lane) words[lane] = static_cast<uint32_t>(pair);
    return words;
}
CPM_INLINE void add_products(Vector& sum, PairVector a, PairVector b) {
    sum += first_halves(a) * first_halves(b);
    sum += second_halves(a) * second_halves(b);
}
CPM_INLINE int64_t store_pairs(const float*, int64_t, float*) { return 0; }
CPM_INLINE void store_pairs(Vector values, float* to) {
    for (int lane = 0; lane < kLanes; lane += 2) {
        const uint32_t pair = bfloat16_pair(values[lane], values[lane + 1]);
        memcpy(to + lane / 2, &pair, sizeof(pair));
    }
}
CPM_INLINE void store_complex_pairs(Complex z, float* to) {
    for (int lane = 0; lane < kLanes; ++lane) {
        const uint32_t pair = bfloat16_pair(z.re[lane], z.im[lane]);
        memcpy(to + lane, &pair, sizeof(pair));
    }
}
CPM_INLINE PairVector conjugate(PairVector z) {
    for (int lane = 0; lane < kLanes; ++lane) z[lane] = z[lane] ^ 0x80000000u;
    return z;
}
CPM_INLINE PairVector swapped(PairVector z) {
    for (int lane = 0; lane < kLanes; ++lane) z[lane] = z[lane] << 16 | z[lane] >> 16;
    return z;
}

#endif

}  // namespace
}  // namespace cpm::spectral

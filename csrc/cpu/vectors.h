// Vectors of N floats: the compiler's own where it has them (GCC, Clang), else arrays with the same operations, which
// every C++17 compiler builds. CPM_FAST_PLAIN_VECTORS forces the second form. Everything has internal linkage: the same
// source is compiled once for each instruction set.
#pragma once

#include <cstdint>

#if defined(__GNUC__) && !defined(CPM_FAST_PLAIN_VECTORS)
#define CPM_GNU_VECTORS 1
#else
#define CPM_GNU_VECTORS 0
#endif

#if defined(__GNUC__)
#define CPM_INLINE __attribute__((always_inline)) inline
#define CPM_INLINE_LAMBDA __attribute__((always_inline))
#else
#define CPM_INLINE inline
#define CPM_INLINE_LAMBDA
#endif

namespace cpm {
namespace {

#if CPM_GNU_VECTORS

// Returns `floor` where `value` is below it; NaN stays. This and the next two take a vector or a float.
template <typename Number>
CPM_INLINE Number at_least(Number value, float floor) {
    return value < floor ? Number{} + floor : value;
}

// Returns `value`, but 0 where `gate` is at most 0.
template <typename Number>
CPM_INLINE Number gated(Number value, Number gate) {
    return gate <= 0.0f ? Number{} : value;
}

// Returns `value` where `gate` is above 0, and 0 elsewhere, so where it is NaN too.
template <typename Number>
CPM_INLINE Number passed(Number value, Number gate) {
    return gate > 0.0f ? value : Number{};
}

// Returns the larger; NaN stays, as in PyTorch's maximum.
template <typename Number>
CPM_INLINE Number greater(Number a, Number b) {
    return ((b > a) | (b != b)) ? b : a;
}

// Returns `yes` where a and b are equal, and `no` elsewhere.
template <typename Number>
CPM_INLINE Number where_equal(Number a, Number b, Number yes, Number no) {
    return a == b ? yes : no;
}

#else

template <int N, typename Number = float>
struct PlainVector {
    Number lanes[N];
    Number operator[](int lane) const { return lanes[lane]; }
    Number& operator[](int lane) { return lanes[lane]; }
};

template <int N, typename Action>
CPM_INLINE auto each_lane(Action action) {
    PlainVector<N, decltype(action(0))> result;
    for (int lane = 0; lane < N; ++lane) result.lanes[lane] = action(lane);
    return result;
}

template <int N>
CPM_INLINE PlainVector<N> operator+(PlainVector<N> a, PlainVector<N> b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] + b.lanes[lane]; });
}
template <int N>
CPM_INLINE PlainVector<N> operator-(PlainVector<N> a, PlainVector<N> b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] - b.lanes[lane]; });
}
template <int N>
CPM_INLINE PlainVector<N> operator-(PlainVector<N> a) {
    return each_lane<N>([&](int lane) { return -a.lanes[lane]; });
}
template <int N>
CPM_INLINE PlainVector<N> operator*(PlainVector<N> a, PlainVector<N> b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] * b.lanes[lane]; });
}
template <int N>
CPM_INLINE PlainVector<N> operator*(PlainVector<N> a, float b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] * b; });
}
template <int N>
CPM_INLINE PlainVector<N> operator/(PlainVector<N> a, float b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] / b; });
}
template <int N>
CPM_INLINE PlainVector<N> operator*(float a, PlainVector<N> b) {
    return b * a;
}
template <int N>
CPM_INLINE PlainVector<N, uint32_t> operator^(PlainVector<N, uint32_t> a, PlainVector<N, uint32_t> b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] ^ b.lanes[lane]; });
}
template <int N>
CPM_INLINE PlainVector<N, uint32_t> operator*(PlainVector<N, uint32_t> a, uint32_t b) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] * b; });
}
template <int N>
CPM_INLINE PlainVector<N, uint32_t> operator>>(PlainVector<N, uint32_t> a, int bits) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] >> bits; });
}
template <int N>
CPM_INLINE PlainVector<N>& operator+=(PlainVector<N>& a, PlainVector<N> b) {
    return a = a + b;
}
CPM_INLINE float at_least(float value, float floor) { return value < floor ? floor : value; }
template <int N>
CPM_INLINE PlainVector<N> at_least(PlainVector<N> value, float floor) {
    return each_lane<N>([&](int lane) { return value.lanes[lane] < floor ? floor : value.lanes[lane]; });
}
CPM_INLINE float gated(float value, float gate) { return gate <= 0.0f ? 0.0f : value; }
template <int N>
CPM_INLINE PlainVector<N> gated(PlainVector<N> value, PlainVector<N> gate) {
    return each_lane<N>([&](int lane) { return gate.lanes[lane] <= 0.0f ? 0.0f : value.lanes[lane]; });
}
CPM_INLINE float passed(float value, float gate) { return gate > 0.0f ? value : 0.0f; }
template <int N>
CPM_INLINE PlainVector<N> passed(PlainVector<N> value, PlainVector<N> gate) {
    return each_lane<N>([&](int lane) { return gate.lanes[lane] > 0.0f ? value.lanes[lane] : 0.0f; });
}

CPM_INLINE float greater(float a, float b) { return b > a || b != b ? b : a; }
template <int N>
CPM_INLINE PlainVector<N> greater(PlainVector<N> a, PlainVector<N> b) {
    return each_lane<N>([&](int lane) { return greater(a.lanes[lane], b.lanes[lane]); });
}
CPM_INLINE float where_equal(float a, float b, float yes, float no) { return a == b ? yes : no; }
template <int N>
CPM_INLINE PlainVector<N> where_equal(PlainVector<N> a, PlainVector<N> b, PlainVector<N> yes, PlainVector<N> no) {
    return each_lane<N>([&](int lane) { return a.lanes[lane] == b.lanes[lane] ? yes.lanes[lane] : no.lanes[lane]; });
}

#endif

// Prefetches the memory at `at`, to be read or written soon.
template <bool Write, int Locality = 3>
CPM_INLINE void prefetch([[maybe_unused]] const float* at) {
#if defined(__GNUC__)
    __builtin_prefetch(at, Write, Locality);
#endif
}

}  // namespace
}  // namespace cpm

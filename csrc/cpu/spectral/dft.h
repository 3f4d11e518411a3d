// Complex DFTs of the tile sizes, each as t = A x B in two passes of straight-line code over registers: B transforms of
// size A and a twiddle, a trip through a buffer of 128 t bytes at most, A transforms of size B. Twiddles are constants.
//
//     t     16   20   22   24   32   36   48   54   64
//     A x B 4x4  4x5  2x11 4x6  4x8  6x6  6x8  6x9  8x8
#pragma once

#include <type_traits>
#include <utility>

#include "kernels.h"
#include "simd.h"

namespace cpm::spectral {
namespace {

constexpr double kPi = 3.14159265358979323846;

// cos and sin by their series about 0, for |x| <= pi: exact to double's rounding, and usable at compile time.
constexpr double series(double x, int power) {
    double sum = 0.0, term = power == 0 ? 1.0 : x;
    for (int n = power; n < 40; n += 2) {
        sum += term;
        term *= -x * x / ((n + 1) * (n + 2));
    }
    return sum;
}

// The angle 2 pi k / n, reduced to (-pi, pi].
constexpr double angle(int k, int n) {
    const int turn = ((k % n) + n) % n;
    return 2.0 * kPi * (2 * turn > n ? turn - n : turn) / n;
}
constexpr float cosine(int k, int n) { return static_cast<float>(series(angle(k, n), 0)); }
constexpr float sine(int k, int n) { return static_cast<float>(series(angle(k, n), 1)); }

template <typename Body, int... I>
CPM_INLINE void unroll_sequence([[maybe_unused]] Body body, std::integer_sequence<int, I...>) {
    (body(std::integral_constant<int, I>{}), ...);
}

// Calls body(0) ... body(N - 1); each argument is a compile-time constant.
template <int N, typename Body>
CPM_INLINE void unroll(Body body) {
    unroll_sequence(body, std::make_integer_sequence<int, N>{});
}

CPM_INLINE Complex times(Complex z, float cos, float sin) { return {z.re * cos + z.im * sin, z.im * cos - z.re * sin}; }

// z exp(-2 pi i K / N)
template <int K, int N>
CPM_INLINE Complex rotate(Complex z) {
    constexpr int turn = K % N;
    if constexpr (turn == 0) {
        return z;
    } else if constexpr (4 * turn == N) {
        return {z.im, -z.re};
    } else if constexpr (2 * turn == N) {
        return {-z.re, -z.im};
    } else if constexpr (8 * turn == N) {
        return {(z.re + z.im) * cosine(1, 8), (z.im - z.re) * cosine(1, 8)};
    } else if constexpr (8 * turn == 3 * N) {
        return {(z.im - z.re) * cosine(1, 8), (z.re + z.im) * -cosine(1, 8)};
    } else {
        return times(z, cosine(turn, N), sine(turn, N));
    }
}

// An odd prime: sums and differences of x[j] and x[N - j] go through real matrices of cosines and sines.
template <int N>
struct Butterfly {
    static CPM_INLINE void run(Complex* x) {
        constexpr int half = (N - 1) / 2;
        Complex sum[half], difference[half];
        const Complex first = x[0];
        unroll<half>([&](auto j) CPM_INLINE_LAMBDA {
            sum[j] = x[j + 1] + x[N - 1 - j];
            difference[j] = x[j + 1] - x[N - 1 - j];
            x[0] = x[0] + sum[j];
        });
        unroll<half>([&](auto k) CPM_INLINE_LAMBDA {
            constexpr int frequency = k + 1;
            Complex even = first, odd = {Vector{}, Vector{}};
            unroll<half>([&](auto j) CPM_INLINE_LAMBDA {
                constexpr int turn = frequency * (j + 1);
                constexpr float cos = cosine(turn, N), sin = sine(turn, N);
                even = {even.re + sum[j].re * cos, even.im + sum[j].im * cos};
                odd = {odd.re + difference[j].re * sin, odd.im + difference[j].im * sin};
            });
            x[frequency] = {even.re + odd.im, even.im - odd.re};
            x[N - frequency] = {even.re - odd.im, even.im + odd.re};
        });
    }
};

template <>
struct Butterfly<2> {
    static CPM_INLINE void run(Complex* x) {
        const Complex sum = x[0] + x[1];
        x[1] = x[0] - x[1];
        x[0] = sum;
    }
};

template <>
struct Butterfly<4> {
    static CPM_INLINE void run(Complex* x) {
        const Complex a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = x[1] - x[3];
        x[0] = a + c;
        x[1] = {b.re + d.im, b.im - d.re};
        x[2] = a - c;
        x[3] = {b.re - d.im, b.im + d.re};
    }
};

// N = A B within registers: x[B a + b] to the frequency k + A l.
template <int A, int B>
struct Composite {
    static CPM_INLINE void run(Complex* x) {
        Complex columns[B][A];
        unroll<B>([&](auto b) CPM_INLINE_LAMBDA {
            unroll<A>([&](auto a) CPM_INLINE_LAMBDA { columns[b][a] = x[B * a + b]; });
            Butterfly<A>::run(columns[b]);
        });
        unroll<A>([&](auto k) CPM_INLINE_LAMBDA {
            constexpr int low = k;
            Complex row[B];
            unroll<B>([&](auto b) CPM_INLINE_LAMBDA { row[b] = rotate<b * low, A * B>(columns[b][low]); });
            Butterfly<B>::run(row);
            unroll<B>([&](auto l) CPM_INLINE_LAMBDA { x[low + A * l] = row[l]; });
        });
    }
};

template <>
struct Butterfly<6> : Composite<2, 3> {};
template <>
struct Butterfly<8> : Composite<2, 4> {};
template <>
struct Butterfly<9> : Composite<3, 3> {};

template <int A, int B>
struct Twiddles {
    float cos[B][A], sin[B][A];
};

template <int A, int B>
constexpr Twiddles<A, B> make_twiddles() {
    Twiddles<A, B> table{};
    for (int b = 0; b < B; ++b) {
        for (int k = 0; k < A; ++k) {
            table.cos[b][k] = cosine(b * k, A * B);
            table.sin[b][k] = sine(b * k, A * B);
        }
    }
    return table;
}

template <int A, int B>
constexpr Twiddles<A, B> kTwiddles = make_twiddles<A, B>();

// The forms in which complex numbers of a block are stored, kFloats long.
struct Complexes {
    static constexpr int kFloats = kComplex;
    CPM_INLINE static void put(Complex z, float* re, float* im) {
        store(re, z.re);
        store(im, z.im);
    }
};

struct Triples {
    static constexpr int kFloats = kTriple;
    CPM_INLINE static void put(Complex z, float* re, float* im) {
        Complexes::put(z, re, im);
        store(re + kComplex, z.re + z.im);
    }
};

template <int A, int B, typename Form>
void dft_passes(const float* re, const float* im, int64_t step, float* out_re, float* out_im, int64_t out_step) {
    Complex columns[A][B];
    for (int b = 0; b < B; ++b) {
        Complex x[A];
        unroll<A>([&](auto a) CPM_INLINE_LAMBDA {
            x[a] = {load(re + (B * a + b) * step), load(im + (B * a + b) * step)};
        });
        Butterfly<A>::run(x);
        columns[0][b] = x[0];
        unroll<A - 1>([&](auto k) CPM_INLINE_LAMBDA {
            columns[k + 1][b] = times(x[k + 1], kTwiddles<A, B>.cos[b][k + 1], kTwiddles<A, B>.sin[b][k + 1]);
        });
    }
    for (int k = 0; k < A; ++k) {
        Complex x[B];
        unroll<B>([&](auto b) CPM_INLINE_LAMBDA { x[b] = columns[k][b]; });
        Butterfly<B>::run(x);
        unroll<B>([&](auto l) CPM_INLINE_LAMBDA {
            Form::put(x[l], out_re + (k + A * l) * out_step, out_im + (k + A * l) * out_step);
        });
    }
}

template <typename Form = Complexes>
Dft find_dft(int tile) {
    switch (tile) {
        case 16: return dft_passes<4, 4, Form>;
        case 20: return dft_passes<4, 5, Form>;
        case 22: return dft_passes<2, 11, Form>;
        case 24: return dft_passes<4, 6, Form>;
        case 32: return dft_passes<4, 8, Form>;
        case 36: return dft_passes<6, 6, Form>;
        case 48: return dft_passes<6, 8, Form>;
        case 54: return dft_passes<6, 9, Form>;
        case 64: return dft_passes<8, 8, Form>;
        default: return nullptr;
    }
}

}  // namespace
}  // namespace cpm::spectral

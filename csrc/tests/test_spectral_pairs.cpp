// Products of spectra by pairs of bfloat16, the form of AVX512-BF16, without that instruction set: sums in double of the
// rounded numbers.

#define CPM_FAST_PLAIN_PAIRS 1

#include <array>
#include <complex>

#include "../cpu/spectral/pair_product.h"

#include "check.h"
#include "plain_conv.h"

namespace {

using namespace cpm::spectral;
using Floats = std::vector<float>;

// Returns [count, pairs] of [count, complex block].
Floats pairs_of(const Floats& blocks) {
    Floats pairs(blocks.size() / 2);
    for (size_t i = 0; i < blocks.size() / kComplex; ++i) {
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            float* to = pairs.data() + i * kPairs + lane;
            ComplexPairs::put(load_complex(blocks.data() + i * kComplex + lane), to, to + kBlock);
        }
    }
    return pairs;
}

std::complex<double> rounded(const Floats& blocks, int64_t block, int64_t lane) {
    const float* at = blocks.data() + block * kComplex + lane;
    return {cpm_test::nearest_bfloat16(at[0]), cpm_test::nearest_bfloat16(at[kBlock])};
}

void test_sums() {
    std::mt19937 generator(17);
    for (const auto& [rows, inner, columns] : {std::array<int64_t, 3>{1, 1, 1}, {3, 16, 2}, {8, 33, 1}, {9, 5, 3},
                                              {23, 47, 2}}) {
        const int64_t blocks = blocks_of(inner), frequencies = 2;
        const Floats a = cpm_test::random_floats(generator, frequencies * rows * blocks * kComplex);
        const Floats b = cpm_test::random_floats(generator, frequencies * columns * inner * kComplex);
        const Floats left = pairs_of(a), right = pairs_of(b);
        Floats y(frequencies * rows * columns * kComplex, cpm_test::kNan);
        multiply_pairs({left.data(), rows * blocks * kPairs, blocks * kPairs, kPairs, 1, right.data(),
                        columns * inner * kPairs, inner * kPairs, kPairs, y.data(), rows * columns * kComplex,
                        columns * kComplex, kComplex, rows, inner, kBlock, columns, false},
                       0, frequencies);
        std::vector<double> wanted;
        for (int64_t place = 0; place < frequencies * rows * columns; ++place) {
            const int64_t column = place % columns, row = place / columns, frequency = row / rows;
            std::complex<double> sums[kBlock] = {};
            for (int64_t k = 0; k < inner; ++k) {
                const auto value = rounded(a, row * blocks + k / kBlock, k % kBlock);
                for (int64_t lane = 0; lane < kBlock; ++lane) {
                    sums[lane] += value * rounded(b, (frequency * columns + column) * inner + k, lane);
                }
            }
            for (const auto& sum : sums) wanted.push_back(sum.real());
            for (const auto& sum : sums) wanted.push_back(sum.imag());
        }
        CHECK(cpm_test::close(y, wanted));
    }
}

}  // namespace

int main() {
    test_sums();
    return cpm_test::finish();
}

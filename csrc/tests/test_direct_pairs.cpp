// Plain sums of bfloat16 by products of pairs, the form of AVX512-BF16, without that instruction set: the same bits as with
// words taken apart.

#define CPM_FAST_PLAIN_PAIRS 1

#include "../cpu/spectral/direct.h"

#include "check.h"
#include "cpm/direct_conv.h"
#include "plain_conv.h"

namespace {

using namespace cpm::spectral;
using Floats = std::vector<float>;

template <typename Form>
Floats run(const cpm_test::Conv& conv, const void* packed, const Floats& bias) {
    const cpm::SpectralConv& params = conv.params;
    const bool plain = params.kernel == 1;
    Floats rows(direct_row_floats(params.width, params.inputs, params.kernel, plain, true), cpm_test::kNan);
    Floats out(conv.gradient.size(), cpm_test::kNan);
    const Direct job{conv.x.data(), packed, bias.data(), out.data(), params.images, params.height, params.width,
                     params.inputs, params.outputs, params.kernel, true, params.inputs, params.outputs, rows.data(), {}};
    if (plain) {
        direct_cells<Form>(job, 0, (params.images * params.height * params.width + kCellChunk - 1) / kCellChunk);
    } else {
        direct_rows<Form>(job, 0, params.images * params.height);
    }
    return out;
}

void test_same_bits() {
    std::mt19937 generator(11);
    for (const cpm::SpectralConv& params : {cpm::SpectralConv{1, 9, 13, 3, 16, 3, 16}, {2, 5, 17, 17, 33, 1, 16},
                                            {1, 12, 24, 20, 50, 5, 16}, {1, 6, 3, 1, 15, 7, 16},
                                            {1, 4, 4, 64, 96, 3, 16}}) {
        const cpm_test::Conv conv = cpm_test::random_conv(generator, params);
        Floats packed(blocks_of(params.outputs) * 16 * Pairs::words(params.inputs) * params.kernel * params.kernel);
        cpm::pack_weight_cpu(conv.weight.data(), packed.data(), params.outputs, params.inputs, params.kernel, true, 1);
        Floats bias = conv.bias;
        bias.resize(blocks_of(params.outputs) * 16);
        const Floats found = run<Pairs>(conv, packed.data(), bias);
        CHECK(found == run<SplitPairs>(conv, packed.data(), bias));
        CHECK(cpm_test::norm(found) > 0.0);
    }
}

}  // namespace

int main() {
    test_same_bits();
    return cpm_test::finish();
}

// The CUDA kernel many_peaks, run on the host, against the CPU op.

#include "cpm/many_peaks.h"

#include <stdexcept>

#include "../check.h"
#include "../random_stack.h"
#include "on_host.h"

namespace {

void test_matches_cpu() {
    const int64_t sizes[][3] = {{1, 1, 1}, {3, 1, 40}, {5, 9, 7}, {2, 16, 16}, {4, 15, 17}, {2, 40, 32}, {1, 61, 70}};
    cpm_test::Generator generator(31);
    for (const auto& size : sizes) {
        for (const int64_t radius : {1, 3}) {
            const cpm::ManyPeaks params{size[0], size[1], size[2], 0.1f, radius};
            std::vector<float> maps;
            for (int64_t m = 0; m < params.maps; ++m) {
                cpm_test::append_map(generator, params.height, params.width, maps);
            }
            for (float& value : maps) {
                if (cpm_test::between(generator, 0, 20) == 0) value = std::numeric_limits<float>::quiet_NaN();
            }
            const int64_t count = params.maps * cpm::most_peaks(params);
            std::vector<float> wanted(3 * count, cpm_test::kUntouched), found(wanted);
            std::vector<uint64_t> scratch(count);
            cpm::many_peaks_cpu(maps.data(), wanted.data(), wanted.data() + 2 * count, params, 1);
            cpm::many_peaks_cuda(maps.data(), found.data(), found.data() + 2 * count, scratch.data(), params, 0,
                                 nullptr);
            CHECK(cpm_test::same(found, wanted));
        }
    }
}

void test_sizes() {
    cpm::many_peaks_cuda(nullptr, nullptr, nullptr, nullptr, {0, 4, 4, 0, 1}, 0, nullptr);
    for (const cpm::ManyPeaks& params : {cpm::ManyPeaks{2, 0, 4, 0, 1}, cpm::ManyPeaks{2, 4, 4, 0, 0},
                                         cpm::ManyPeaks{1, 1 << 16, 1 << 16, 0, 1}}) {
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::many_peaks_cuda(nullptr, nullptr, nullptr, nullptr, params, 0, nullptr); }));
    }
    CHECK(cpm_test::throws<std::runtime_error>(
        [] { cpm::many_peaks_cuda(nullptr, nullptr, nullptr, nullptr, {1, 4, 4, 0, 1}, 7, nullptr); }));
}

}  // namespace

int main() {
    test_matches_cpu();
    test_sizes();
    return cpm_test::finish();
}

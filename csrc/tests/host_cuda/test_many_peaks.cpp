// The CUDA kernel many_peaks, run on the host, against the CPU op.

#include "cpm/many_peaks.h"

#include <algorithm>
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
            CHECK(cpm_test::written_once(3 * count, 7, [&](float* out) {
                cpm::many_peaks_cuda(maps.data(), out, out + 2 * count, scratch.data(), params, 0, nullptr);
            }));
        }
    }
}

// The maps of the first, the last and the last map's block, among so many that cells and coordinates exceed 2^31.
void test_many_maps() {
    const cpm::ManyPeaks params{(int64_t{1} << 21) + 3, 46, 46, 0.1f, 1}, one{1, 46, 46, 0.1f, 1};
    const int64_t cells = params.height * params.width, most = cpm::most_peaks(params);
    const cpm_test::Untouched<float> maps(params.maps * cells), points(2 * params.maps * most);
    const cpm_test::Untouched<float> scores(params.maps * most);
    const cpm_test::Untouched<uint64_t> scratch(params.maps * most);
    cpm_test::Generator generator(32);
    std::vector<int64_t> done;
    const auto blocks = cpm_test::blocks_of_tasks({0, (int64_t{1} << 20) - 1, params.maps - 1});
    const cpm_test::OnlyBlocks only([&](unsigned grid) {
        for (const unsigned block : blocks(grid)) {
            for (int64_t m = block; m < params.maps; m += grid) done.push_back(m);
        }
        for (const int64_t m : done) {
            std::vector<float> map;
            cpm_test::append_map(generator, params.height, params.width, map);
            std::copy(map.begin(), map.end(), maps.data() + m * cells);
        }
        return blocks(grid);
    });
    cpm::many_peaks_cuda(maps.data(), points.data(), scores.data(), scratch.data(), params, 0, nullptr);
    CHECK(done.size() >= 7);
    for (const int64_t m : done) {
        std::vector<float> wanted(3 * most);
        cpm::many_peaks_cpu(maps.data() + m * cells, wanted.data(), wanted.data() + 2 * most, one, 1);
        CHECK(cpm_test::same(wanted.data(), points.data() + 2 * m * most, 2 * most));
        CHECK(cpm_test::same(wanted.data() + 2 * most, scores.data() + m * most, most));
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
    test_many_maps();
    test_sizes();
    return cpm_test::finish();
}

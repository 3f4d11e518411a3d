// The CUDA kernel peaks, run on the host, against the CPU op.

#include "cpm/peaks.h"

#include <stdexcept>

#include "../check.h"
#include "../random_stack.h"
#include "on_host.h"

namespace {

struct Result {
    std::vector<float> points, scores;
    explicit Result(int64_t maps) : points(2 * maps, cpm_test::kUntouched), scores(maps, cpm_test::kUntouched) {}
};

std::vector<float> random_maps(cpm_test::Generator& generator, const cpm::Peaks& params) {
    const float infinite = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const float strange[] = {nan, infinite, -infinite, -0.0f, 3e38f, 1e-40f};
    std::vector<float> values;
    for (int64_t m = 0; m < params.maps; ++m) {
        cpm_test::append_map(generator, params.height, params.width, values);
        const int64_t pixels = params.height * params.width, begin = m * pixels;
        if (cpm_test::between(generator, 0, 9) == 0) std::fill(values.begin() + begin, values.end(), nan);
        for (int64_t count = cpm_test::between(generator, 0, 3); count > 0; --count) {
            values[begin + cpm_test::between(generator, 0, pixels - 1)] = strange[cpm_test::between(generator, 0, 5)];
        }
    }
    return values;
}

void test_matches_cpu() {
    const int64_t sizes[][3] = {{1, 1, 1},  {3, 1, 40},   {5, 9, 7},     {2, 16, 16},   {4, 15, 17},
                                {2, 46, 46}, {7, 61, 70},  {1, 300, 301}, {7, 257, 1}, {1, 368, 368}};
    cpm_test::Generator generator(11);
    for (const auto& size : sizes) {
        for (const bool refine : {false, true}) {
            const cpm::Peaks params{size[0], size[1], size[2], refine};
            const auto maps = random_maps(generator, params);
            Result wanted(params.maps), found(params.maps);
            cpm::peaks_cpu(maps.data(), wanted.points.data(), wanted.scores.data(), params, 1);
            cpm::peaks_cuda(maps.data(), found.points.data(), found.scores.data(), params, 0, nullptr);
            CHECK(cpm_test::same(found.points, wanted.points) && cpm_test::same(found.scores, wanted.scores));
            CHECK(!refine || cpm_test::written_once(3 * params.maps, 5, [&](float* out) {
                cpm::peaks_cuda(maps.data(), out, out + 2 * params.maps, params, 0, nullptr);
            }));
        }
    }
}

// The maps of the first, the last and the last map's block, among so many that there are more than 2^32 pixels.
void test_many_maps() {
    const cpm::Peaks params{(int64_t{1} << 21) + 3, 46, 46, true};
    const int64_t pixels = params.height * params.width;
    const cpm_test::Untouched<float> maps(params.maps * pixels), points(2 * params.maps), scores(params.maps);
    cpm_test::Generator generator(12);
    std::vector<int64_t> done;
    const auto blocks = cpm_test::blocks_of_tasks({0, (int64_t{1} << 20) - 1, params.maps - 1});
    const cpm_test::OnlyBlocks only([&](unsigned grid) {
        for (const unsigned block : blocks(grid)) {
            for (int64_t m = block; m < params.maps; m += grid) done.push_back(m);
        }
        for (const int64_t m : done) {
            const auto values = random_maps(generator, {1, params.height, params.width, true});
            std::copy(values.begin(), values.end(), maps.data() + m * pixels);
        }
        return blocks(grid);
    });
    cpm::peaks_cuda(maps.data(), points.data(), scores.data(), params, 0, nullptr);
    CHECK(done.size() >= 7);
    for (const int64_t m : done) {
        Result wanted(1);
        cpm::peaks_cpu(maps.data() + m * pixels, wanted.points.data(), wanted.scores.data(),
                       {1, params.height, params.width, true}, 1);
        CHECK(cpm_test::same(wanted.points.data(), points.data() + 2 * m, 2));
        CHECK(cpm_test::same(wanted.scores.data(), scores.data() + m, 1));
    }
}

// One map of more than 2^31 pixels, zero but for a peak at its end.
void test_large_map() {
    const int64_t height = int64_t{1} << 16, width = (int64_t{1} << 15) + 8;
    const cpm_test::Untouched<float> map(height * width);
    map.take_large_pages();
    float* const peak = map.data() + (height - 2) * width + width - 3;
    *peak = 1.0f;
    peak[1] = peak[width] = 0.5f;
    Result found(1);
    cpm::peaks_cuda(map.data(), found.points.data(), found.scores.data(), {1, height, width, true}, 0, nullptr);
    const float offset = 0.5f / 3.0f;
    CHECK(found.points[0] == static_cast<float>(width - 3) + offset && found.scores[0] == 1.0f);
    CHECK(found.points[1] == static_cast<float>(height - 2) + offset);
}

void test_sizes() {
    cpm::peaks_cuda(nullptr, nullptr, nullptr, {0, 4, 4, true}, 0, nullptr);
    for (const cpm::Peaks& params : {cpm::Peaks{2, 0, 4, true}, cpm::Peaks{2, 4, -1, true},
                                     cpm::Peaks{1, 1 << 16, 1 << 16, true}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::peaks_cuda(nullptr, nullptr, nullptr, params, 0, nullptr); }));
    }
    CHECK(cpm_test::throws<std::runtime_error>(
        [] { cpm::peaks_cuda(nullptr, nullptr, nullptr, {1, 4, 4, true}, 7, nullptr); }));
}

}  // namespace

int main() {
    test_matches_cpu();
    test_many_maps();
    // A sanitizer would check each of 8 GB of reads.
    if (!CPM_FAST_SANITIZED) test_large_map();
    test_sizes();
    return cpm_test::finish();
}

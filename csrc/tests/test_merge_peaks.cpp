// merge_peaks_cpu against resize_merge_cpu and peaks_cpu, index for index and bit for bit, on random small stacks.
// CPM_FAST_STACKS sets their number; the default takes a few seconds. The steps of the CUDA kernel must agree too.

#include "cpm/merge_peaks.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "case_tables.h"
#include "check.h"
#include "cpm/peaks.h"
#include "cpm/tile_search.h"
#include "random_stack.h"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Result {
    std::vector<float> points, scores;
    bool operator==(const Result& other) const {
        // The comparison is bit for bit, so NaN equals NaN; both zeros are one score.
        const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
            return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                              [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
        };
        return same(points, other.points) && same(scores, other.scores);
    }
};

Result fused(const cpm_test::Stack& stack, bool refine, int threads) {
    const int64_t parts = stack.params.images * (stack.params.maps - 1);
    Result result{std::vector<float>(2 * parts, 7.0f), std::vector<float>(parts, 7.0f)};
    cpm::merge_peaks_cpu(stack.maps.data(), stack.frames.data(), result.points.data(), result.scores.data(),
                         stack.params, refine, threads);
    return result;
}

Result materialized(const cpm_test::Stack& stack, bool refine) {
    const cpm::ResizeMerge& params = stack.params;
    const int64_t pixels = params.height * params.width, parts = params.maps - 1;
    std::vector<float> merged(params.images * params.maps * pixels, kNan);
    cpm::resize_merge_cpu(stack.maps.data(), stack.frames.data(), merged.data(), params, 1);
    Result result{std::vector<float>(2 * params.images * parts, 7.0f), std::vector<float>(params.images * parts, 7.0f)};
    for (int64_t n = 0; n < params.images; ++n) {
        cpm::peaks_cpu(merged.data() + n * params.maps * pixels, result.points.data() + 2 * n * parts,
                       result.scores.data() + n * parts, {parts, params.height, params.width, refine}, 1);
    }
    return result;
}

void test_small_stacks() {
    const char* wanted = std::getenv("CPM_FAST_STACKS");
    const int64_t count = wanted ? std::atoll(wanted) : 20000;
    cpm_test::Generator generator(std::random_device{}());
    int64_t wrong = 0;
    for (int64_t trial = 0; trial < count; ++trial) {
        const auto side = [&](int64_t low, int64_t high) { return cpm_test::between(generator, low, high); };
        const cpm::ResizeMerge params{1, 3, 2, side(8, 64), side(8, 64), side(8, 96), side(8, 96), 1};
        const auto stack = cpm_test::random_stack(generator, params, trial % 4 == 0, trial % 8 < 6);
        const bool refine = trial % 2;
        wrong += !(fused(stack, refine, 1) == materialized(stack, refine));
    }
    std::printf("%lld of %lld random stacks differ\n", static_cast<long long>(wrong), static_cast<long long>(count));
    CHECK(count > 0 && wrong == 0);
}

// merge_peaks by the steps of the CUDA kernel, all threads of a step one after the other.
Result stepped(const cpm_test::Stack& stack, bool refine) {
    const cpm::ResizeMerge& params = stack.params;
    const int64_t parts = params.maps - 1, cells = params.cell_height * params.cell_width;
    const int64_t tiles = cpm::merge_peaks_tiles(params.height, params.width);
    Result result{std::vector<float>(2 * params.images * parts), std::vector<float>(params.images * parts)};
    const auto all_threads = [](const auto& step) {
        for (int thread = 0; thread < cpm::kSearchThreads; ++thread) step(thread);
    };
    for (int64_t task = 0; task < params.images * parts; ++task) {
        const int64_t n = task / parts, p = task % parts;
        const cpm::PartStack part{stack.maps.data() + (n * params.scales * params.maps + p) * cells,
                                  params.maps * cells,
                                  stack.frames.data() + (params.frame_sets == 1 ? 0 : n) * params.scales * 4,
                                  params.scales,
                                  params.cell_height,
                                  params.cell_width,
                                  params.height,
                                  params.width};
        cpm::TileSearch shared;
        std::vector<float> bounds(tiles, kNan);
        const auto reduce = [&] {
            for (int half = cpm::kSearchThreads / 2; half > 0; half /= 2) {
                all_threads([&](int thread) { cpm::reduce_step(shared.values, thread, half); });
            }
        };
        all_threads([&](int thread) { cpm::scan_magnitude(part, shared, thread); });
        reduce();
        cpm::set_slack(part, shared);
        all_threads([&](int thread) { cpm::bound_tiles(part, shared, bounds.data(), thread); });
        reduce();
        cpm::open_highest(shared);
        const auto visit = [&] {
            all_threads([&](int thread) { cpm::visit_tiles(part, shared, thread); });
            reduce();
            cpm::keep_best(part, shared);
        };
        visit();
        for (int64_t first = 0; first < tiles; first += cpm::kSearchThreads) {
            for (int64_t tile = first; tile < std::min(first + cpm::kSearchThreads, tiles); ++tile) {
                if (cpm::is_open(shared, bounds.data(), tile)) shared.open[shared.open_count++] = static_cast<int>(tile);
            }
            if (shared.open_count > 0) visit();
        }
        cpm::write_peak(part, shared, refine, result.points.data() + 2 * task, result.scores.data() + task);
    }
    return result;
}

void test_cuda_steps() {
    cpm_test::Generator generator(std::random_device{}());
    for (int64_t trial = 0; trial < 1000; ++trial) {
        const auto side = [&](int64_t low, int64_t high) { return cpm_test::between(generator, low, high); };
        const cpm::ResizeMerge params{1 + trial % 2, side(1, 4), 2, side(1, 24), side(1, 24), side(1, 200), side(1, 90), 1};
        const auto stack = cpm_test::random_stack(generator, params, trial % 3 == 0, trial % 4 < 3);
        CHECK(stepped(stack, trial % 2) == materialized(stack, trial % 2));
    }
}

void test_other_sizes() {
    cpm_test::Generator generator(3);
    for (const auto& params : cpm_test::kMergeCases) {
        for (const bool wild : {false, true}) {
            for (const bool finite : {false, true}) {
                const auto stack = cpm_test::random_stack(generator, params, wild, finite);
                for (const bool refine : {false, true}) {
                    const Result wanted = materialized(stack, refine);
                    for (const int threads : {1, 2, 7}) CHECK(fused(stack, refine, threads) == wanted);
                }
            }
        }
    }
}

void test_nothing_but_nan() {
    cpm_test::Stack stack{{1, 2, 2, 8, 8, 40, 40, 1}, std::vector<float>(2 * 2 * 64, kNan), {}};
    stack.frames = {0.2, 0.2, -0.4, -0.4, 0.2, 0.2, -0.4, -0.4};
    const Result result = fused(stack, true, 1);
    CHECK(std::isnan(result.points[0]) && std::isnan(result.points[1]) && std::isnan(result.scores[0]));
}

void test_sizes() {
    // Null pointers: no memory may be accessed.
    for (const cpm::ResizeMerge& params : {cpm::ResizeMerge{0, 3, 15, 46, 46, 368, 368, 1},
                                           cpm::ResizeMerge{2, 3, 1, 46, 46, 368, 368, 1}}) {
        cpm::merge_peaks_cpu(nullptr, nullptr, nullptr, nullptr, params, true, 2);
    }
    const int64_t large = int64_t{1} << 29;
    for (const cpm::ResizeMerge& params :
         {cpm::ResizeMerge{1, 0, 2, 4, 4, 8, 8, 1}, cpm::ResizeMerge{1, 1, 2, 0, 4, 8, 8, 1},
          cpm::ResizeMerge{1, 1, 2, 4, 4, 0, 8, 1}, cpm::ResizeMerge{3, 1, 2, 4, 4, 8, 8, 2},
          cpm::ResizeMerge{large, 1, 2, large, large, 8, 8, 1}, cpm::ResizeMerge{1, 1, 2, 4, 4, -8, 8, 1}}) {
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::merge_peaks_cpu(nullptr, nullptr, nullptr, nullptr, params, true, 2); }));
    }
    const double infinite = std::numeric_limits<double>::infinity();
    for (const double bad : {infinite, -infinite, std::nan("")}) {
        cpm_test::Stack stack{{1, 1, 2, 4, 4, 8, 8, 1}, std::vector<float>(32), {0.5, 0.5, bad, 0.0}};
        CHECK(cpm_test::throws<std::invalid_argument>([&] { fused(stack, false, 1); }));
    }
}

}  // namespace

int main() {
    test_small_stacks();
    test_cuda_steps();
    test_other_sizes();
    test_nothing_but_nan();
    test_sizes();
    return cpm_test::finish();
}

// The CUDA kernel merge_peaks, run on the host, against the CPU op.

#include "cpm/merge_peaks.h"

#include <stdexcept>

#include "../case_tables.h"
#include "../check.h"
#include "../random_stack.h"
#include "on_host.h"

namespace {

using cpm::ResizeMerge;

int64_t parts_of(const ResizeMerge& params) { return params.images * (params.maps - 1); }

std::vector<float> on_cpu(const cpm_test::Stack& stack, bool refine) {
    const int64_t parts = parts_of(stack.params);
    std::vector<float> out(3 * parts, cpm_test::kUntouched);  // points, then scores
    cpm::merge_peaks_cpu(stack.maps.data(), stack.frames.data(), out.data(), out.data() + 2 * parts, stack.params, refine, 1);
    return out;
}

void on_host(const cpm_test::Stack& stack, bool refine, float* out) {
    const int64_t parts = parts_of(stack.params);
    std::vector<float> bounds(parts * cpm::merge_peaks_tiles(stack.params.height, stack.params.width), cpm_test::kUntouched);
    cpm::merge_peaks_cuda(stack.maps.data(), stack.frames.data(), out, out + 2 * parts, bounds.data(), stack.params, refine,
                          0, nullptr);
}

void check(const cpm_test::Stack& stack, bool refine) {
    std::vector<float> out(3 * parts_of(stack.params), cpm_test::kUntouched);
    on_host(stack, refine, out.data());
    CHECK(cpm_test::same(out, on_cpu(stack, refine)));
}

void test_matches_cpu() {
    cpm_test::Generator generator(31);
    for (const ResizeMerge& params : cpm_test::kMergeCases) {
        for (const bool wild : {false, true}) {
            // Barriers are slow here, so the usual size runs only once.
            if (wild && params.maps == 15) continue;
            check(cpm_test::random_stack(generator, params, wild, !wild), wild);
        }
    }
    for (int trial = 0; trial < 8; ++trial) {
        const auto side = [&](int64_t low, int64_t high) { return cpm_test::between(generator, low, high); };
        const ResizeMerge params{1 + trial % 2, side(1, 4), 3, side(1, 24), side(1, 24), side(1, 200), side(1, 90), 1};
        check(cpm_test::random_stack(generator, params, trial % 3 == 0, trial % 4 < 3), trial % 2);
    }
    const auto stack = cpm_test::random_stack(generator, {3, 2, 4, 9, 9, 60, 60, 1}, false, true);
    CHECK(cpm_test::written_once(3 * parts_of(stack.params), 5, [&](float* out) { on_host(stack, true, out); }));
}

// The parts of the first, the last and the last image's block, with so many images that cells and bounds exceed 2^32.
void test_many_images() {
    const ResizeMerge params{(int64_t{1} << 21) + 2, 1, 2, 46, 46, 368, 368, (int64_t{1} << 21) + 2};
    const int64_t cells = 2 * 46 * 46, tiles = cpm::merge_peaks_tiles(params.height, params.width);
    const cpm_test::Untouched<float> maps(params.images * cells), points(2 * params.images), scores(params.images);
    const cpm_test::Untouched<float> bounds(params.images * tiles);
    const cpm_test::Untouched<double> frames(params.images * 4);
    cpm_test::Generator generator(32);
    ResizeMerge one = params;
    one.images = one.frame_sets = 1;
    const auto stack = cpm_test::random_stack(generator, one, false, true);
    for (const int64_t n : {int64_t{0}, (int64_t{1} << 20) - 1, params.images - 1}) {
        std::copy(stack.maps.begin(), stack.maps.end(), maps.data() + n * cells);
        std::copy(stack.frames.begin(), stack.frames.end(), frames.data() + n * 4);
    }
    const cpm_test::OnlyBlocks only(cpm_test::blocks_of_tasks({0, (int64_t{1} << 20) - 1, params.images - 1}));
    cpm::merge_peaks_cuda(maps.data(), frames.data(), points.data(), scores.data(), bounds.data(), params, true, 0, nullptr);
    const auto wanted = on_cpu(stack, true);
    for (const int64_t n : {int64_t{0}, (int64_t{1} << 20) - 1, params.images - 1}) {
        CHECK(cpm_test::same(wanted.data(), points.data() + 2 * n, 2));
        CHECK(cpm_test::same(wanted.data() + 2, scores.data() + n, 1));
    }
}

void test_sizes() {
    const auto run = [](const ResizeMerge& params, int device) {
        cpm::merge_peaks_cuda(nullptr, nullptr, nullptr, nullptr, nullptr, params, true, device, nullptr);
    };
    run({0, 3, 15, 46, 46, 368, 368, 1}, 0);
    run({2, 3, 1, 46, 46, 368, 368, 1}, 0);
    for (const ResizeMerge& params : {ResizeMerge{1, 0, 2, 4, 4, 8, 8, 1}, ResizeMerge{1, 1, 2, 4, 4, 0, 8, 1},
                                      ResizeMerge{1, 1, 2, 4, 4, 1 << 16, 1 << 16, 1}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { run(params, 0); }));
    }
    CHECK(cpm_test::throws<std::runtime_error>([&] { run({1, 1, 2, 4, 4, 8, 8, 1}, 7); }));
}

}  // namespace

int main() {
    test_matches_cpu();
    test_many_images();
    test_sizes();
    return cpm_test::finish();
}

// The CUDA kernel resize_merge, run on the host, against the CPU op.

#include "cpm/resize_merge.h"

#include <stdexcept>

#include "../case_tables.h"
#include "../check.h"
#include "../random_stack.h"
#include "on_host.h"

namespace {

using cpm::ResizeMerge;

constexpr int64_t kTileWidth = 32, kTileHeight = 8;

int64_t elements(const ResizeMerge& params) { return params.images * params.maps * params.height * params.width; }

void test_matches_cpu() {
    cpm_test::Generator generator(21);
    std::vector<ResizeMerge> cases(std::begin(cpm_test::kResizeCases), std::end(cpm_test::kResizeCases));
    cases.push_back({2, cpm::kMaxScales, 2, 5, 5, 33, 9, 1});
    for (const ResizeMerge& params : cases) {
        for (const bool wild : {false, true}) {
            const auto stack = cpm_test::random_stack(generator, params, wild, !wild);
            std::vector<float> wanted(elements(params), cpm_test::kUntouched), merged = wanted;
            cpm::resize_merge_cpu(stack.maps.data(), stack.frames.data(), wanted.data(), params, 1);
            const auto run = [&](float* out) {
                cpm::resize_merge_cuda(stack.maps.data(), stack.frames.data(), out, params, 0, nullptr);
            };
            run(merged.data());
            CHECK(cpm_test::same(merged, wanted));
            if (wild) CHECK(cpm_test::written_once(elements(params), 3, run));
        }
    }
}

// Images 0 and N - 1 of so many that cells and pixels exceed 2^32 and blocks process several tiles.
void test_many_images() {
    const ResizeMerge params{(int64_t{1} << 21) + 5, 1, 3, 27, 27, 30, 33, (int64_t{1} << 21) + 5};
    ResizeMerge one = params;
    one.images = one.frame_sets = 1;
    cpm_test::Generator generator(22);
    const auto stack = cpm_test::random_stack(generator, one, false, true);
    const int64_t cells = static_cast<int64_t>(stack.maps.size()), own = elements(one);
    const cpm_test::Untouched<float> maps(params.images * cells), merged(params.images * own);
    const cpm_test::Untouched<double> frames(params.images * 4);
    for (const int64_t n : {int64_t{0}, params.images - 1}) {
        std::copy(stack.maps.begin(), stack.maps.end(), maps.data() + n * cells);
        std::copy(stack.frames.begin(), stack.frames.end(), frames.data() + n * 4);
    }
    const int64_t tiles = ((params.height + kTileHeight - 1) / kTileHeight) * ((params.width + kTileWidth - 1) / kTileWidth);
    const cpm_test::OnlyBlocks only(
        cpm_test::blocks_of_tasks(cpm_test::first_and_last(params.images * tiles, tiles)));
    cpm::resize_merge_cuda(maps.data(), frames.data(), merged.data(), params, 0, nullptr);
    std::vector<float> wanted(own);
    cpm::resize_merge_cpu(stack.maps.data(), stack.frames.data(), wanted.data(), one, 1);
    for (const int64_t n : {int64_t{0}, params.images - 1}) {
        CHECK(cpm_test::same(wanted.data(), merged.data() + n * own, own));
    }
}

// The first and the last tile of one output of more than 2^32 pixels. Frames are powers of two, so positions are exact,
// and the CPU op computes the same ones from the tile's corner.
void test_large_output() {
    const int64_t side = (int64_t{1} << 16) + 8;
    const double scale = 1.0 / 8192;
    const ResizeMerge params{1, 1, 2, 9, 9, side, side, 1};
    cpm_test::Generator generator(23);
    auto stack = cpm_test::random_stack(generator, params, false, true);
    stack.frames = {scale, scale, 0.0, 0.0};
    const cpm_test::Untouched<float> merged(elements(params));
    const int64_t across = (side + kTileWidth - 1) / kTileWidth, down = (side + kTileHeight - 1) / kTileHeight;
    const cpm_test::OnlyBlocks only(cpm_test::blocks_of_tasks({0, across * down - 1}));
    cpm::resize_merge_cuda(stack.maps.data(), stack.frames.data(), merged.data(), params, 0, nullptr);
    for (const bool last : {false, true}) {
        const int64_t left = last ? (across - 1) * kTileWidth : 0, top = last ? (down - 1) * kTileHeight : 0;
        ResizeMerge tile = params;
        tile.height = std::min(kTileHeight, side - top);
        tile.width = std::min(kTileWidth, side - left);
        const std::vector<double> frames{scale, scale, scale * left, scale * top};
        std::vector<float> wanted(elements(tile));
        cpm::resize_merge_cpu(stack.maps.data(), frames.data(), wanted.data(), tile, 1);
        for (int64_t row = 0; row < 2 * tile.height; ++row) {
            const int64_t map = row / tile.height, y = top + row % tile.height;
            CHECK(cpm_test::same(wanted.data() + row * tile.width, merged.data() + (map * side + y) * side + left, tile.width));
        }
    }
}

void test_sizes() {
    cpm::resize_merge_cuda(nullptr, nullptr, nullptr, {0, 1, 2, 4, 4, 8, 8, 1}, 0, nullptr);
    for (const ResizeMerge& params : {ResizeMerge{1, 0, 2, 4, 4, 8, 8, 1}, ResizeMerge{1, 33, 2, 4, 4, 8, 8, 1},
                                      ResizeMerge{3, 1, 2, 4, 4, 8, 8, 2}}) {
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::resize_merge_cuda(nullptr, nullptr, nullptr, params, 0, nullptr); }));
    }
    CHECK(cpm_test::throws<std::runtime_error>(
        [] { cpm::resize_merge_cuda(nullptr, nullptr, nullptr, {1, 1, 2, 4, 4, 8, 8, 1}, 7, nullptr); }));
}

}  // namespace

int main() {
    test_matches_cpu();
    test_many_images();
    test_large_output();
    test_sizes();
    return cpm_test::finish();
}

// Threads share the rows. PyTorch's copy does the same on its own threads, which then spin for milliseconds on the
// cores that the next layer needs.

#include "cpm/copy_maps.h"

#include <cstring>

#include "cpm/sizes.h"
#include "cpm/threads.h"

namespace cpm {
namespace {

// Sharing smaller copies takes longer than one thread does.
constexpr int64_t kAloneFloats = 16 << 10;

void copy_row(const float* from, float* to, const CopyMaps& params) {
    const int64_t channels = params.sizes[1], width = params.sizes[3];
    const int64_t from_channel = params.from_strides[1], to_channel = params.to_strides[1];
    const int64_t from_cell = params.from_strides[3], to_cell = params.to_strides[3];
    if (from_channel == 1 && to_channel == 1) {
        const bool dense = from_cell == channels && to_cell == channels;
        const int64_t pieces = dense ? 1 : width, floats = dense ? width * channels : channels;
        for (int64_t x = 0; x < pieces; ++x) {
            std::memcpy(to + x * to_cell, from + x * from_cell, static_cast<size_t>(floats) * sizeof(float));
        }
        return;
    }
    for (int64_t x = 0; x < width; ++x) {
        for (int64_t c = 0; c < channels; ++c) to[x * to_cell + c * to_channel] = from[x * from_cell + c * from_channel];
    }
}

}  // namespace

void copy_maps_cpu(const float* from, float* to, const CopyMaps& params, int threads) {
    const int64_t height = params.sizes[2];
    const int64_t floats = element_count({params.sizes[0], params.sizes[1], height, params.sizes[3]});
    if (floats == 0) return;
    threads::parallel_ranges(floats < kAloneFloats ? 1 : threads, params.sizes[0] * height,
                             [&](int, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t n = row / height, y = row % height;
            copy_row(from + n * params.from_strides[0] + y * params.from_strides[2],
                     to + n * params.to_strides[0] + y * params.to_strides[2], params);
        }
    });
}

}  // namespace cpm
